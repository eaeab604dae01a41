package client_test

import (
	"context"
	"fmt"
	"log"

	"dormouse/plugins/client"
	"dormouse/plugins/controller/controllerpb"
	"dormouse/shell/shellpb"
)

func Example() {
	c, err := client.New("/run/dormouse/communicator")
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()

	if _, err := c.Controller().Activate(ctx, &controllerpb.InstanceRequest{Callsign: "Counter"}); err != nil {
		log.Fatal(err)
	}
	// Any generated client works on Conn; this one is part of every plugin with
	// JSON-RPC methods.
	counter := shellpb.NewDispatcherClient(c.Conn("Counter"))
	answer, err := counter.Invoke(ctx, &shellpb.InvokeRequest{Method: "increment"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", answer.GetResult())
}
