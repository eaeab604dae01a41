package main

import (
	"strings"
	"testing"
)

// How much of a plugin's memory is there is told as long as it is not all of it.
func TestLoadingIsTold(t *testing.T) {
	loading := byteProgress{12 << 20, 64 << 20}
	for _, text := range []string{
		instanceRecord{PID: 1, Loading: loading}.detailsText(),
		explanation{State: "activated", Loading: loading}.text(),
	} {
		if !strings.Contains(text, "12 of 64 MiB") {
			t.Errorf("got:\n%s", text)
		}
	}
	for _, text := range []string{instanceRecord{PID: 1}.detailsText(), explanation{State: "activated"}.text()} {
		if strings.Contains(text, "MiB") {
			t.Errorf("got:\n%s", text)
		}
	}
}
