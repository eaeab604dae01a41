package monitor

// Statistics is statistics for the tests outside of the package.
type Statistics = statistics
