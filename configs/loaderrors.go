package configs

import "dormouse/internal/tomltable"

// LoadError is one fault of a configuration, with its place: a file and a line, "--flag" or
// "DORMOUSE_VARIABLE".
type LoadError = tomltable.LoadError

// LoadErrors are all faults of a configuration, at least one, so that the operator can
// correct all of them at once.
type LoadErrors = tomltable.LoadErrors //nolint:errname // it is so called
