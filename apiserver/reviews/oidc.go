package reviews

import (
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"clipper/apiserver/authn/satoken"
)

// Paths of the documents with which others check our tokens.
const (
	DiscoveryPath = "/.well-known/openid-configuration"
	JWKSPath      = "/openid/v1/jwks"
)

// OIDC returns the handlers of DiscoveryPath and JWKSPath. jwksURI is where clients find the latter. Who may read them is
// for the authorizer to say before they are called. An issuer that OpenID does not allow to be discovered has none.
func OIDC(s *satoken.Signer, jwksURI string) (map[string]http.Handler, error) {
	discovery, err := s.Discovery(jwksURI)
	if err != nil {
		slog.Info("tokens of service accounts cannot be checked by OpenID discovery", "issuer", s.Issuer(), "err", err)
		return map[string]http.Handler{}, nil
	}
	jwks, err := s.JWKS()
	if err != nil {
		return nil, fmt.Errorf("openid: encode the key set: %w", err)
	}
	documents := func() ([]byte, []byte, error) { return discovery, jwks, nil }
	if s.Changing() {
		documents = func() (discovery, jwks []byte, err error) {
			if discovery, err = s.Discovery(jwksURI); err == nil {
				jwks, err = s.JWKS()
			}
			return discovery, jwks, err
		}
	}
	return map[string]http.Handler{
		DiscoveryPath: document("application/json", s.MaxAge, func() ([]byte, error) { d, _, err := documents(); return d, err }),
		JWKSPath:      document("application/jwk-set+json", s.MaxAge, func() ([]byte, error) { _, k, err := documents(); return k, err }),
	}, nil
}

func document(contentType string, maxAge func() time.Duration, content func() ([]byte, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		body, err := content()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", fmt.Sprintf("public, max-age=%d", int(maxAge().Seconds())))
		_, _ = w.Write(body) // the client may have gone; there is nobody to tell
	})
}
