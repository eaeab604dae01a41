package pidone

import _ "embed"

//go:embed pidone_arm64.elf
var program []byte
