package authn

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
)

func TestWebhook(t *testing.T) {
	var asked atomic.Int64
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		var review authenticationv1.TokenReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			t.Error(err)
		}
		if review.Spec.Token == "known" && slices.Equal(review.Spec.Audiences, []string{"api"}) {
			review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: []string{"api"},
				User: authenticationv1.UserInfo{Username: "ann", Groups: []string{"g"}}}
		}
		json.NewEncoder(w).Encode(review)
	}))
	defer hook.Close()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\nclusters: [{name: a, cluster: {server: '" + hook.URL + "'}}]\ncontexts: [{name: a, context: {cluster: a, user: a}}]\nusers: [{name: a}]\ncurrent-context: a\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens, err := NewWebhook(WebhookConfig{File: file, Version: "v1", CacheTTL: time.Minute}, []string{"api"})
	if err != nil {
		t.Fatal(err)
	}
	a := New(Config{Audiences: []string{"api"}, More: []authenticator.Token{tokens}})
	show := func(token string) (*authenticator.Response, bool, error) {
		return a.AuthenticateRequest(&http.Request{URL: &url.URL{Path: "/api"}, Header: bearer(token)})
	}
	for range 3 {
		resp, ok, err := show("known")
		if !ok || resp.User.GetName() != "ann" || !slices.Equal(resp.User.GetGroups(), []string{"g", "system:authenticated"}) {
			t.Fatalf("%+v %v %v", resp, ok, err)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times about one token", n)
	}
	if _, ok, err := show("unknown"); ok || err == nil {
		t.Errorf("an unknown token: %v %v", ok, err)
	}
}
