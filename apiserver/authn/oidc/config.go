package oidc

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
)

// Flags describe one provider as the --oidc-* flags do.
type Flags struct {
	IssuerURL, ClientID, CAFile   string
	UsernameClaim, UsernamePrefix string // claim "": sub; prefix "": the issuer, "-": none
	GroupsClaim, GroupsPrefix     string
	SigningAlgs                   []string // none: RS256
	RequiredClaims                map[string]string
}

func (f *Flags) given() bool {
	return f.IssuerURL != "" || f.ClientID != "" || f.CAFile != "" || f.UsernameClaim != "" || f.UsernamePrefix != "" ||
		f.GroupsClaim != "" || f.GroupsPrefix != "" || len(f.SigningAlgs) > 0 || len(f.RequiredClaims) > 0
}

func (f *Flags) algorithms() []string {
	if len(f.SigningAlgs) == 0 {
		return []string{"RS256"}
	}
	return f.SigningAlgs
}

// providers returns the one provider of the flags, or none.
func (f *Flags) providers() ([]apiserver.JWTAuthenticator, error) {
	if !f.given() {
		return nil, nil
	}
	if f.IssuerURL == "" || f.ClientID == "" {
		return nil, errors.New("oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set")
	}
	p := apiserver.JWTAuthenticator{Issuer: apiserver.Issuer{URL: f.IssuerURL, Audiences: []string{f.ClientID}}}
	p.ClaimMappings.Username = f.username()
	if f.GroupsClaim != "" {
		p.ClaimMappings.Groups = apiserver.PrefixedClaimOrExpression{Claim: f.GroupsClaim, Prefix: &f.GroupsPrefix}
	}
	if f.CAFile != "" {
		ca, err := os.ReadFile(f.CAFile)
		if err != nil {
			return nil, fmt.Errorf("--oidc-ca-file: %w", err)
		}
		p.Issuer.CertificateAuthority = string(ca)
	}
	for claim, value := range f.RequiredClaims {
		p.ClaimValidationRules = append(p.ClaimValidationRules, apiserver.ClaimValidationRule{Claim: claim, RequiredValue: value})
	}
	return []apiserver.JWTAuthenticator{p}, nil
}

// username names users by a claim. Claims other than email are not unique between issuers, so those get a prefix.
func (f *Flags) username() apiserver.PrefixedClaimOrExpression {
	claim, prefix := f.UsernameClaim, f.UsernamePrefix
	if claim == "" {
		claim = "sub"
	}
	switch {
	case prefix == "-":
		prefix = ""
	case prefix == "" && claim != "email":
		prefix = f.IssuerURL + "#"
	}
	return apiserver.PrefixedClaimOrExpression{Claim: claim, Prefix: &prefix}
}

// codecs read configuration files, strictly. Made when the first is read.
var codecs = sync.OnceValue(func() serializer.CodecFactory {
	s := runtime.NewScheme()
	install.Install(s)
	return serializer.NewCodecFactory(s, serializer.EnableStrict)
})

func decode(text []byte) (*apiserver.AuthenticationConfiguration, error) {
	if len(text) == 0 {
		return nil, errors.New("empty config data")
	}
	obj, err := runtime.Decode(codecs().UniversalDecoder(), text)
	if err != nil {
		return nil, err
	}
	config, ok := obj.(*apiserver.AuthenticationConfiguration)
	if !ok {
		return nil, fmt.Errorf("expected AuthenticationConfiguration, got %T", obj)
	}
	return config, nil
}
