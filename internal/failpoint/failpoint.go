// Package failpoint lets a test kill the host between two steps of its work. It
// does nothing unless it is built with the tag failpoints, and does not know
// what the steps are.
package failpoint
