package main

// packageVerbs returns the verbs about packages.
func packageVerbs() []verb {
	return []verb{
		{
			name: "plugin install", args: "SOURCE...", summary: "install a package with its plugins",
			doc: "SOURCE is an archive, a directory (./DIR), oci://HOST/REPOSITORY:TAG, an OCI layout DIRECTORY:TAG, the\n" +
				"address of an archive, or a name in the catalogue. What is not signed by a key in [packages] is\n" +
				"taken only from this machine, unless the configuration says otherwise. The host goes on by itself\n" +
				"after a restart; --wait returns when it is done.",
			example: "dormouse plugin install clock-1.2.0.tar.zst --wait",
			prepare: packageVerb(installingPackage),
		},
		{
			name: "plugin upgrade", args: "SOURCE...", summary: "install another version of a package",
			doc: "The old version serves until the new one is fetched, verified and tried. A NAME alone takes the\n" +
				"newest version of the catalogue. If the new version does not stay active and healthy, the package\n" +
				"is FAILED and `dormouse plugin rollback NAME` puts the old one and its data back.",
			example: "dormouse plugin upgrade clock-1.3.0.tar.zst --wait",
			prepare: packageVerb(upgradingPackage),
		},
		{
			name: "plugin rollback", args: "NAME...", summary: "put back the version, and the data, from before a failed upgrade",
			doc:     "It needs no network. What the new version has stored goes to the trash: `dormouse package trash`.",
			example: "dormouse plugin rollback clock --wait",
			prepare: packageVerb(rollingPackageBack),
		},
		{
			name: "plugin retry", args: "NAME...", summary: "do again what has failed",
			example: "dormouse plugin retry clock --wait",
			prepare: packageVerb(retryingPackage),
		},
		{
			name: "plugin cancel", args: "NAME...", summary: "give up an operation that has not switched versions yet",
			example: "dormouse plugin cancel clock",
			prepare: packageVerb(cancellingPackage),
		},
		{
			name: "plugin enable", args: "NAME...", summary: "let the plugins of a package run again",
			doc:     "What ran before `plugin disable` runs again; nothing is fetched.",
			example: "dormouse plugin enable clock --wait",
			prepare: packageVerb(enablingPackage),
		},
		{
			name: "plugin disable", args: "NAME...", summary: "end the plugins of a package, and keep all installed",
			doc:     "Calls and data for them are refused until `dormouse plugin enable NAME`, also after a restart.",
			example: "dormouse plugin disable clock --wait",
			prepare: packageVerb(disablingPackage),
		},
		{
			name: "plugin uninstall", args: "NAME...", summary: "remove a package; what its plugins have stored stays",
			doc: "It is refused while other packages need it or its flows hold messages. The states of its flows are\n" +
				"kept by name.",
			example: "dormouse plugin uninstall clock --drain --wait",
			prepare: packageVerb(uninstallingPackage),
		},
		{
			name: "plugin history", args: "[NAME]", summary: "the operations on packages that have ended",
			example: "dormouse plugin history clock",
			prepare: packageHistoryVerb,
		},
		{
			name: "package list", summary: "the packages that are installed; `plugin list` shows them too",
			example: "dormouse package list -o json",
			prepare: packageListVerb,
		},
		{
			name: "package browse", summary: "what the catalogue offers",
			example: "dormouse package browse --again",
			prepare: packageBrowseVerb,
		},
		{
			name: "package sync", summary: "bring the packages in the database and on the file system into agreement",
			doc: "The host does it at its start, by the side that --plugin-source or source in [packages] names. What\n" +
				"is deleted lies seven days in the trash. If the source looks lost, nothing is deleted without --really.",
			example: "dormouse package sync --dry-run",
			prepare: packageSyncVerb,
		},
		{
			name: "package trash", summary: "packages and data that were deleted in the last days",
			example: "dormouse package trash",
			prepare: packageTrashVerb,
		},
		{
			name: "package restore", args: "NAME|ID", summary: "install a package from the trash again",
			example: "dormouse package restore clock",
			prepare: packageRestoreVerb,
		},
	}
}
