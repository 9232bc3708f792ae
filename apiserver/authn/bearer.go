package authn

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"

	"k8s.io/apiserver/pkg/warning"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

const (
	websocketProtocols   = "Sec-Websocket-Protocol" // in canonical form
	websocketTokenPrefix = "base64url.bearer.authorization.k8s.io."
)

// bearerToken returns the token of the Authorization header; "" if there is none.
func bearerToken(req *http.Request) string {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(req.Header.Get("Authorization")), " ")
	if !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	token, _, more := strings.Cut(rest, " ")
	if token == "" && more {
		warning.AddWarning(req.Context(), "", "the provided Authorization header contains extra space before the bearer token, and is ignored")
	}
	return token
}

// What is wrong with a token among subprotocols.
var (
	errManyTokens    = errors.New("more than one bearer token among the subprotocols")
	errTokenEncoding = errors.New("the bearer token among the subprotocols is not UTF-8 in unpadded base64url")
	errTokenAlone    = errors.New("the bearer token is the only subprotocol: name another, which the server can answer with")
)

// websocketToken returns the token that a browser's WebSocket, which cannot set an Authorization header, offers as a
// subprotocol, and the other subprotocols. The token is "" if there is none.
func websocketToken(req *http.Request) (token, others string, err error) {
	if len(req.Header[websocketProtocols]) == 0 || !wsstream.IsWebSocketRequest(req) {
		return "", "", nil
	}
	var kept []string
	seen := false
	for _, line := range req.Header[websocketProtocols] {
		for proto := range strings.SplitSeq(line, ",") {
			proto = strings.TrimSpace(proto)
			encoded, ok := strings.CutPrefix(proto, websocketTokenPrefix)
			if !ok {
				kept = append(kept, proto)
				continue
			}
			if seen {
				return "", "", errManyTokens
			}
			seen = true
			raw, err := base64.RawURLEncoding.DecodeString(encoded)
			if err != nil || !utf8.Valid(raw) {
				return "", "", errTokenEncoding
			}
			token = string(raw)
		}
	}
	if token != "" && len(kept) == 0 {
		return "", "", errTokenAlone
	}
	return token, strings.Join(kept, ","), nil
}
