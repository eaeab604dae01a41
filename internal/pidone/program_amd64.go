package pidone

import _ "embed"

//go:embed pidone_amd64.elf
var program []byte
