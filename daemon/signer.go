package daemon

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"clipper/apiserver/authn/externalsigner"
)

// shortestToken is the shortest life of a token that may be asked for. Upstream's figure.
const shortestToken = 10 * time.Minute

// abstractSocket is the form of a name outside of the file system.
var abstractSocket = regexp.MustCompile(`^@([a-zA-Z0-9_-]+\.)*[a-zA-Z0-9_-]+$`)

func (o *IdentityOptions) checkSigner() error {
	if o.SigningEndpoint == "" {
		return nil
	}
	var faults []error
	if o.SigningKeyFile != "" || len(o.KeyFiles) > 0 {
		faults = append(faults, errors.New("can't set `--service-account-signing-key-file` and/or `--service-account-key-file` with `--service-account-signing-endpoint` (They are mutually exclusive)"))
	}
	if strings.HasPrefix(o.SigningEndpoint, "@") && !abstractSocket.MatchString(o.SigningEndpoint) {
		faults = append(faults, fmt.Errorf("invalid value %q passed for `--service-account-signing-endpoint`, when prefixed with @ must be a valid abstract socket name", o.SigningEndpoint))
	}
	return errors.Join(faults...)
}

// dialSigner connects to the process that signs, and keeps tokens within the life that it allows.
func (o *IdentityOptions) dialSigner(ctx context.Context) (*externalsigner.Signer, error) {
	s, err := externalsigner.Dial(ctx, o.SigningEndpoint)
	if err != nil {
		return nil, err
	}
	longest, err := s.Longest(ctx)
	if err == nil {
		err = o.shorten(longest)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// shorten keeps tokens within the longest life that the process allows.
func (o *IdentityOptions) shorten(longest time.Duration) error {
	limits := &o.TokenLimits
	switch {
	case longest < shortestToken:
		return fmt.Errorf("max token life supported by external-jwt-signer (%ds) is less than acceptable (min %ds)", int(longest.Seconds()), int(shortestToken.Seconds()))
	case limits.Longest > longest:
		return fmt.Errorf("service-account-max-token-expiration cannot be set longer than the token expiration supported by service-account-signing-endpoint: %s > %s", limits.Longest, longest)
	case limits.Longest == 0:
		limits.Longest = longest
	}
	limits.Extended = longest
	return nil
}
