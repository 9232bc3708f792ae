package apiserver

import (
	"net/http"
	"regexp"
)

// Browsers says what the server tells browsers. The zero value: nothing.
type Browsers struct {
	Origins []*regexp.Regexp // of pages whose scripts may use the API
	HSTS    string           // Strict-Transport-Security
}

// headers adds what browsers want to know. It reports whether that was all that the request was for: scripts ask
// before they send what a form could not send.
func (b *Browsers) headers(w http.ResponseWriter, r *http.Request) (answered bool) {
	h := w.Header()
	if b.HSTS != "" {
		h.Set("Strict-Transport-Security", b.HSTS)
	}
	if len(b.Origins) == 0 || !b.allows(r.Header.Get("Origin")) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
	h.Set("Access-Control-Allow-Methods", "POST, GET, OPTIONS, PUT, DELETE, PATCH")
	h.Set("Access-Control-Allow-Headers", "Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, Authorization, X-Requested-With, If-Modified-Since")
	h.Set("Access-Control-Expose-Headers", "Date")
	h.Set("Access-Control-Allow-Credentials", "true")
	if r.Method != http.MethodOptions {
		return false
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}

func (b *Browsers) allows(origin string) bool {
	for _, o := range b.Origins {
		if origin != "" && o.MatchString(origin) {
			return true
		}
	}
	return false
}
