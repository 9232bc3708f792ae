package attachment

import "testing"

// The name is the SHA-256 of volume, driver and node, written one after the other.
func TestNames(t *testing.T) {
	if got, want := Volume("ebs.csi.aws.com", "vol-1"), "kubernetes.io/csi/ebs.csi.aws.com^vol-1"; string(got) != want {
		t.Errorf("Volume = %s, want %s", got, want)
	}
	if got, want := Name("ebs.csi.aws.com", "vol-1", "n1"), "csi-ddbfb4470da740e26d0871a8e7cbfaaea0fe241c682170c176b52f44abb4a3be"; got != want {
		t.Errorf("Name = %s, want %s", got, want)
	}
}
