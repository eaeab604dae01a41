// Package failpoint lets a test kill, stop or hold this process between two steps of its work.
// It does nothing unless it is built with the tag failpoints, and does not know the
// steps.
package failpoint
