package daemon

import (
	"strings"
	"testing"
	"time"

	"clipper/apiserver/reviews"
)

func TestSigningEndpointFaults(t *testing.T) {
	for _, tt := range []struct {
		o    IdentityOptions
		want string
	}{
		{IdentityOptions{SigningKeyFile: "a"}, ""},
		{IdentityOptions{SigningEndpoint: "/run/signer.sock"}, ""},
		{IdentityOptions{SigningEndpoint: "@signer.example"}, ""},
		{IdentityOptions{SigningEndpoint: "@a b"}, "must be a valid abstract socket name"},
		{IdentityOptions{SigningEndpoint: "/a", SigningKeyFile: "a"}, "They are mutually exclusive"},
		{IdentityOptions{SigningEndpoint: "/a", KeyFiles: []string{"a"}}, "They are mutually exclusive"},
	} {
		if err := tt.o.complete(); tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%+v: %v", tt.o, err)
		}
	}
}

// TestShorten: no token lives longer than the process that signs allows.
func TestShorten(t *testing.T) {
	for _, tt := range []struct {
		longest, flag, want time.Duration
		err                 string
	}{
		{24 * time.Hour, 0, 24 * time.Hour, ""},
		{24 * time.Hour, time.Hour, time.Hour, ""},
		{time.Hour, 2 * time.Hour, 0, "service-account-max-token-expiration cannot be set longer than the token expiration supported by service-account-signing-endpoint: 2h0m0s > 1h0m0s"},
		{time.Minute, 0, 0, "max token life supported by external-jwt-signer (60s) is less than acceptable (min 600s)"},
	} {
		o := IdentityOptions{TokenLimits: reviews.TokenLimits{Longest: tt.flag}}
		err := o.shorten(tt.longest)
		switch {
		case tt.err != "" && (err == nil || err.Error() != tt.err):
			t.Errorf("%+v: %v", tt, err)
		case tt.err == "" && (err != nil || o.TokenLimits.Longest != tt.want || o.TokenLimits.Extended != tt.longest):
			t.Errorf("%+v: %v, %+v", tt, err, o.TokenLimits)
		}
	}
}
