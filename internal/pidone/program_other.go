//go:build !amd64 && !arm64

package pidone

var program []byte
