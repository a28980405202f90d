# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Shared by mutants and mutants-vm: reads the list of mistakes, and makes a mistake. Source it after
# lib.sh.

# mistakes LIST: prints the list, one mistake a line: name, file, tests, old, new, and the sign that
# shows the mistake where no test fails. Lines of old and new end with \001, replacements with \002,
# and tabs separate the columns.
mistakes() {
	awk -v walk="$TOP/rust_gup/walk/" '
		function out() {
			if (name != "")
				printf "%s\t%s\t%s\t%s\t%s\t%s\n", name, file, test, old, new, sign
			name = old = new = last = sign = ""
		}
		/^= / { out(); name = substr($0, 3) }
		/^@ / { file = $2; test = $0; sub(/^@ [^ ]+ +/, "", test) }
		/^! / { sign = substr($0, 3) }
		/^- / {
			# A second pair of old and new.
			if (last == "+") { old = old "\002"; new = new "\002" }
			old = old substr($0, 3) "\001"; last = "-"
		}
		/^\+/ { new = new substr($0, 3) "\001"; last = "+" }
		# Moves each constant of a single bit to the next bit.
		/^bits / {
			out()
			while ((getline line < (walk $2)) > 0)
				if (line ~ /^const [A-Z_]+: u64 = 1 << [0-9]+;$/) {
					split(line, part, /[ :]+|;/)
					printf "%s has %s in the wrong place\t%s\t%s\t%s\001\t%s\001\t\n", $2, part[2], $2, $3,
						line, "const " part[2] ": u64 = 1 << " part[7] + 1 ";"
				}
		}
		END { out() }
	' "$1"
}

# apply DIR FILE OLD NEW: replaces OLD with NEW. OLD must match in exactly one place, however it is
# broken into lines. FILE is one file, or "*" for any file of DIR itself.
apply() {
	(cd "$1" && OLD=$3 NEW=$4 perl -0777 -e '
		my ($name, %text) = (shift);
		for my $file ($name eq "*" ? glob "*.rs" : $name) {
			open my $in, "<", $file or die "$file: $!\n";
			$text{$file} = <$in>;
		}
		my @new = split /\002/, $ENV{NEW}, -1;
		for my $old (split /\002/, $ENV{OLD}, -1) {
			my $re = join "\\s+", map { quotemeta } split " ", $old =~ tr/\001/\n/r;
			my @in = grep { $text{$_} =~ /$re/ } keys %text;
			my $nr = () = join("", values %text) =~ /$re/g;
			$nr == 1 or die "found $nr times: ", $old =~ tr/\001/ /r, "\n";
			my $new = (shift @new) =~ tr/\001/\n/r;
			$text{$in[0]} =~ s/$re/$new/;
			$changed{$in[0]} = 1;
		}
		for my $file (keys %changed) {
			open my $out, ">", $file or die "$file: $!\n";
			print $out $text{$file};
		}
	' "$2")
}
