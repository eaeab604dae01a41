// Verifies requests with the verifier of Standard Webhooks: each line of standard input is JSON
// with a secret, headers and a body, and gets a line "accepted" or what is wrong.
'use strict';

const readline = require('readline');
const { Webhook } = require('standardwebhooks');

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const { secret, headers, body } = JSON.parse(line);
  try {
    new Webhook(secret).verify(body, headers);
    console.log('accepted');
  } catch (error) {
    console.log(error.message);
  }
});
