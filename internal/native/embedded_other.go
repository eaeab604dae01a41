//go:build !amd64 && !arm64

package native

var pidone, hold, bystander []byte
