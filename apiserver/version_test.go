package apiserver_test

import (
	"testing"

	"clipper/apiserver"
)

func TestVersion(t *testing.T) {
	v := apiserver.Version()
	got := [...]string{v.Major, v.Minor, v.EmulationMajor, v.EmulationMinor, v.MinCompatibilityMajor, v.MinCompatibilityMinor}
	if want := [...]string{"1", "36", "1", "36", "1", "35"}; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
