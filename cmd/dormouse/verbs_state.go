package main

// stateVerbs returns the verbs about the state that plugins keep with the host.
func stateVerbs() []verb {
	return []verb{
		{
			name: "state list", args: "[NAME [PREFIX]]", summary: "what each plugin keeps with the host, or the keys and blobs of one",
			doc:     "NAME is a callsign, also of a virtual plugin, or of one that is no longer installed.",
			example: "dormouse state list Optimizer runs/",
			prepare: stateListVerb,
		},
		{
			name: "state get", args: "NAME KEY", summary: "print the JSON of a key",
			doc:     "With --blob KEY is the name of a blob, whose bytes are printed as they are.",
			example: "dormouse state get Optimizer settings",
			prepare: stateGetVerb,
		},
		{
			name: "state set", args: "NAME KEY JSON", summary: "set a key, and print its new revision",
			doc: "JSON is the value itself, @FILE, or - to read standard input; at most 64 KiB.\n" +
				"With --blob KEY is the name of a blob, and the third argument FILE or -.",
			example: "dormouse state set Optimizer settings '{\"rounds\":20}'",
			prepare: stateSetVerb,
		},
		{
			name: "state delete", args: "NAME [KEY...]", summary: "delete keys, or blobs with --blob",
			doc:     "With --all it deletes everything that NAME keeps.",
			example: "dormouse state delete Optimizer settings",
			prepare: stateDeleteVerb,
		},
		{
			name: "state export", args: "NAME [FILE]", summary: "write all keys and blobs of a plugin as a tar archive",
			doc:     "Without FILE it goes to standard output. End the plugin first if it must not change meanwhile.",
			example: "dormouse state export Optimizer optimizer.tar",
			prepare: stateExportVerb,
		},
		{
			name: "state import", args: "NAME [FILE]", summary: "put the keys and blobs of such an archive back",
			doc: "Without FILE it comes from standard input. NAME may be another than the archive's.\n" +
				"It is refused if NAME keeps something, unless --merge lays the archive over that.",
			example: "dormouse state import Optimizer optimizer.tar",
			prepare: stateImportVerb,
		},
	}
}
