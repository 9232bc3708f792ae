package authn

import (
	"encoding/base64"
	"net/http"
	"strings"
	"unicode/utf8"
)

const (
	websocketProtocols   = "Sec-WebSocket-Protocol"
	websocketTokenPrefix = "base64url.bearer.authorization.k8s.io."
)

// bearerToken returns the bearer token of req, from its Authorization header or, for browsers' WebSockets
// that cannot set one, from the offered subprotocols, which it then removes.
func bearerToken(req *http.Request) (token string, shown bool) {
	scheme, token, _ := strings.Cut(strings.TrimSpace(req.Header.Get("Authorization")), " ")
	if strings.EqualFold(scheme, "bearer") {
		token = strings.TrimSpace(token)
		if token != "" {
			return token, true
		}
	}
	if !strings.EqualFold(req.Header.Get("Upgrade"), "websocket") {
		return "", false
	}
	return websocketToken(req.Header)
}

func websocketToken(h http.Header) (token string, shown bool) {
	var kept []string
	for _, line := range h.Values(websocketProtocols) {
		for proto := range strings.SplitSeq(line, ",") {
			proto = strings.TrimSpace(proto)
			encoded, ok := strings.CutPrefix(proto, websocketTokenPrefix)
			if !ok || shown {
				kept = append(kept, proto)
				continue
			}
			raw, err := base64.RawURLEncoding.DecodeString(encoded)
			if err != nil || !utf8.Valid(raw) {
				return "", false
			}
			token, shown = string(raw), true
		}
	}
	// The token alone is no protocol that a server could answer with: upstream asks for one more.
	if !shown || len(kept) == 0 {
		return "", false
	}
	h.Set(websocketProtocols, strings.Join(kept, ","))
	return token, true
}
