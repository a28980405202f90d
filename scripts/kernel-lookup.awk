# SPDX-License-Identifier: GPL-2.0
#
# Finds the kernels that can be used. Reads "package version" lines. Prints
# "version release source-package" for each kernel of FLAVOUR whose image, modules, headers
# and source exist in the same version.
#
# -v flavour=cloud-amd64 -v want=      (all)
#                        -v want=7.2   (that line), 7.2.12, or a whole release

{
	have[$1, $2] = 1
	version[$1, ++nr[$1]] = $2
}

function matches(release, upstream) {
	return want == "" || want == release || want == upstream ||
		index(upstream, want ".") == 1
}

END {
	suffix = "-" flavour
	for (name in nr) {
		if (name !~ /^linux-headers-[0-9]/)
			continue
		at = length(name) - length(suffix) + 1
		if (substr(name, at) != suffix)
			continue
		release = substr(name, length("linux-headers-") + 1)
		# 7.2.12+deb13-cloud-amd64 -> 7.2.12+deb13 -> 7.2.12 -> 7.2
		abi = substr(release, 1, length(release) - length(suffix))
		# linux-headers-X-rt-amd64 also ends in -amd64.
		if (abi ~ /-/)
			continue
		upstream = abi
		sub(/\+.*/, "", upstream)
		split(upstream, part, ".")
		source = "linux-source-" part[1] "." part[2]
		if (!matches(release, upstream))
			continue
		for (i = 1; i <= nr[name]; i++) {
			v = version[name, i]
			if (have["linux-binary-" release, v] &&
			    have["linux-modules-" release, v] &&
			    have["linux-headers-" abi "-common", v] &&
			    have["linux-kbuild-" abi, v] &&
			    have[source, v])
				print v, release, source
		}
	}
}
