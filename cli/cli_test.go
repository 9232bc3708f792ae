package cli

import "testing"

// TestExitCodes: what a script sees.
func TestExitCodes(t *testing.T) {
	for _, tt := range []struct {
		args []string
		code int
	}{
		{[]string{"version"}, 0},
		{[]string{"sandbox", "--help"}, 0},
		{[]string{"sandbox", "frob"}, 1},
		{[]string{"frob"}, 1},
		{[]string{"token", "frob"}, 1},
		{[]string{"server", "--no-such-flag"}, 1},
		{[]string{"server", "--node-name", "Not_A_Name"}, 1},
		{[]string{"agent"}, 1},
	} {
		if code := Main(tt.args); code != tt.code {
			t.Errorf("clipper %v: exit code %d, want %d", tt.args, code, tt.code)
		}
	}
}
