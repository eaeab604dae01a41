package native

import _ "embed"

//go:embed pidone_amd64.elf
var pidone []byte

//go:embed hold_amd64.elf
var hold []byte

//go:embed bystander_amd64.elf
var bystander []byte
