package state

// quota is one bound of [state].
type quota struct {
	key     string // of the configuration
	what    string // what is counted; empty for bytes
	limit   int64  // 0 for none
	has     int64  // before the change
	will    int64  // after it
	byOwner bool
}

// check returns a quotaError if the change grows beyond the bound.
func (q quota) check(owner string) error {
	if q.limit == 0 || q.will <= q.limit || q.will <= q.has {
		return nil
	}
	if !q.byOwner {
		owner = ""
	}
	return &quotaError{owner: owner, key: q.key, what: q.what, limit: q.limit, left: q.limit - q.has, needed: q.will - q.has}
}

// checkQuotas returns an ErrFull if an owner's change grows beyond a bound. What is beyond
// already may shrink.
func (s *State) checkQuotas(before, after ownerRow) error {
	c, all := s.quotasNow(), s.allBytes()
	for _, q := range []quota{
		{"max-keys", "keys", int64(c.MaxKeys), before.keys, after.keys, true},
		{"max-key-bytes", "", int64(c.MaxKeyBytes), before.keyBytes, after.keyBytes, true},
		{"max-blobs", "blobs", int64(c.MaxBlobs), before.blobs, after.blobs, true},
		{"max-blob-bytes", "", int64(c.MaxBlobBytes), before.blobBytes, after.blobBytes, true},
		{"max-bytes", "", int64(c.MaxBytes), all, all + after.bytes() - before.bytes(), false},
	} {
		if err := q.check(before.owner); err != nil {
			return err
		}
	}
	return nil
}
