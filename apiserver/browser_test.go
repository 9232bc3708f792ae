package apiserver_test

import (
	"net/http"
	"regexp"
	"testing"

	"clipper/apiserver"
	"clipper/apiserver/servertest"
)

func TestBrowsers(t *testing.T) {
	s := start(t, servertest.Options{Server: func(o *apiserver.Options) {
		o.Browsers = apiserver.Browsers{Origins: []*regexp.Regexp{regexp.MustCompile(`^https://console\.example$`)}, HSTS: "max-age=31536000; includeSubDomains"}
	}})
	for _, tt := range []struct {
		method, origin string
		code           int
		allowed        string
	}{
		{"GET", "", 200, ""},
		{"GET", "https://console.example", 200, "https://console.example"},
		{"GET", "https://console.example.evil", 200, ""},
		{"OPTIONS", "https://console.example", 204, "https://console.example"},
		{"OPTIONS", "https://evil.example", 405, ""},
	} {
		r, err := http.NewRequest(tt.method, s.URL+cms, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tt.code != http.StatusNoContent { // who asks beforehand sends no credentials
			r.Header.Set("Authorization", "Bearer "+servertest.AdminToken)
		}
		r.Header.Set("Origin", tt.origin)
		res, err := s.HTTPClient().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		h := res.Header
		if res.StatusCode != tt.code || h.Get("Access-Control-Allow-Origin") != tt.allowed || (h.Get("Access-Control-Allow-Methods") == "") != (tt.allowed == "") || h.Get("Strict-Transport-Security") != "max-age=31536000; includeSubDomains" {
			t.Errorf("%s from %q: %d %v", tt.method, tt.origin, res.StatusCode, h)
		}
	}
}
