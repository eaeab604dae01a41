package process

import "os"

// spareFileCount is how many files the host opens to connect to a plugin, and a few more.
const spareFileCount = 8

// spareFiles are open files that are closed when their descriptors are needed. A wake opens
// them before it uses the image, so that it fails for want of descriptors before that.
type spareFiles []*os.File

// openSpareFiles opens as many files as a connection to a plugin needs.
func openSpareFiles() (spareFiles, error) {
	var spare spareFiles
	for range spareFileCount {
		f, err := os.Open(os.DevNull)
		if err != nil {
			spare.close()
			return nil, err
		}
		spare = append(spare, f)
	}
	return spare, nil
}

// close closes the files.
func (s spareFiles) close() {
	for _, f := range s {
		_ = f.Close()
	}
}
