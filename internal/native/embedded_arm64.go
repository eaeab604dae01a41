package native

import _ "embed"

//go:embed pidone_arm64.elf
var pidone []byte

//go:embed hold_arm64.elf
var hold []byte

//go:embed bystander_arm64.elf
var bystander []byte
