package reviews

import (
	"fmt"
	"net/http"

	"clipper/apiserver/authn/satoken"
)

// Paths of the documents with which others check our tokens.
const (
	DiscoveryPath = "/.well-known/openid-configuration"
	JWKSPath      = "/openid/v1/jwks"
)

// OIDC returns the handlers of DiscoveryPath and JWKSPath. server is the URL under which clients reach
// this API server. Who may read them is for the authorizer to say before they are called.
func OIDC(s *satoken.Signer, server string) (map[string]http.Handler, error) {
	jwks, err := s.JWKS()
	if err != nil {
		return nil, fmt.Errorf("openid: encode the key set: %w", err)
	}
	discovery, err := s.Discovery(server + JWKSPath)
	if err != nil {
		return nil, fmt.Errorf("openid: encode the provider configuration: %w", err)
	}
	return map[string]http.Handler{
		DiscoveryPath: document("application/json", discovery),
		JWKSPath:      document("application/jwk-set+json", jwks),
	}, nil
}

func document(contentType string, body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "public, max-age=3600")
		_, _ = w.Write(body) // the client may have gone; there is nobody to tell
	})
}
