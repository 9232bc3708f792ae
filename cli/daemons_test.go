package cli

import (
	"testing"

	"github.com/spf13/cobra"
)

// TestListen: kube-apiserver's two flags and our one mean the same; both at once mean nothing.
func TestListen(t *testing.T) {
	for _, tt := range []struct {
		args      []string
		want, err string
	}{
		{nil, ":6443", ""},
		{[]string{"--listen=10.0.0.1:7443"}, "10.0.0.1:7443", ""},
		{[]string{"--bind-address=::"}, "[::]:6443", ""},
		{[]string{"--secure-port=7443"}, ":7443", ""},
		{[]string{"--secure-port=7443", "--bind-address=10.0.0.1"}, "10.0.0.1:7443", ""},
		{[]string{"--bind-address=10.0.0.1", "--secure-port=7443"}, "10.0.0.1:7443", ""},
		{[]string{"--secure-port=0"}, "", `invalid argument "0" for "--secure-port" flag: must be between 1 and 65535, inclusive. It cannot be turned off with 0`},
		{[]string{"--bind-address=host"}, "", `invalid argument "host" for "--bind-address" flag: ParseAddr("host"): unable to parse IP`},
		{[]string{"--listen=:1", "--secure-port=2"}, "", "if any flags in the group [listen secure-port] are set none of the others can be; [listen secure-port] were all set"},
	} {
		listen := ":6443"
		cmd := &cobra.Command{}
		listenFlags(cmd, &listen)
		err := cmd.ParseFlags(tt.args)
		if err == nil {
			err = cmd.ValidateFlagGroups()
		}
		switch {
		case tt.err != "" && (err == nil || err.Error() != tt.err):
			t.Errorf("%v: %v, want %s", tt.args, err, tt.err)
		case tt.err == "" && (err != nil || listen != tt.want):
			t.Errorf("%v: %v, %s, want %s", tt.args, err, listen, tt.want)
		}
	}
}
