package credential

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestMatches(t *testing.T) {
	for _, tc := range []struct {
		pattern, repository string
		want                bool
	}{
		{"registry.example.com", "registry.example.com/team/app", true},
		{"registry.example.com/team", "registry.example.com/team/app", true},
		{"registry.example.com/team", "registry.example.com/teammate", true}, // a plain prefix, as upstream
		{"registry.example.com/other", "registry.example.com/team/app", false},
		{"*.example.com", "registry.example.com/app", true},
		{"*.example.com", "a.registry.example.com/app", false},
		{"reg*.example.com", "registry.example.com/app", true},
		{"*.io", "quay.io/app", true},
		{"registry.example.com:5000", "registry.example.com:5000/app", true},
		{"registry.example.com", "registry.example.com:5000/app", false},
		{"registry.example.com:5000", "registry.example.com/app", false},
		{"[", "a/b", false},
		{"%zz", "a/b", false},
	} {
		if got := Matches(tc.pattern, tc.repository); got != tc.want {
			t.Errorf("Matches(%q, %q) = %v", tc.pattern, tc.repository, got)
		}
	}
}

func TestLookupPutsTheMoreSpecificFirst(t *testing.T) {
	var k Keyring
	k.Add(map[string]Entry{
		"https://quay.io/v1/":         {Username: "host"},
		"quay.io/team":                {Username: "team"},
		"quay.io/team/app":            {Username: "app"},
		"https://index.docker.io/v1/": {Username: "hub"},
		"*.example.com":               {Username: "wild"},
		":bad url":                    {Username: "bad"},
	}, nil, nil)
	for repository, want := range map[string][]string{
		"quay.io/team/app":        {"app", "team", "host"},
		"quay.io/team/web":        {"team", "host"},
		"quay.io/other":           {"host"},
		"docker.io/library/nginx": {"hub"},
		"r.example.com/x":         {"wild"},
		"ghcr.io/x":               nil,
		"localhost:5000/x":        nil,
	} {
		var got []string
		for _, l := range k.Lookup(repository) {
			got = append(got, l.Username)
		}
		if len(got) != len(want) {
			t.Errorf("%s: got %v, want %v", repository, got, want)
			continue
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%s: got %v, want %v", repository, got, want)
			}
		}
	}
}

func TestSecrets(t *testing.T) {
	secret := func(kind corev1.SecretType, key, data string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "s", UID: "u"}, Type: kind, Data: map[string][]byte{key: []byte(data)}}
	}
	for _, tc := range []struct {
		name           string
		secret         *corev1.Secret
		user, password string
		fails          bool
	}{
		{"json", secret(corev1.SecretTypeDockerConfigJson, corev1.DockerConfigJsonKey, `{"auths":{"r.io":{"username":"a","password":"b"}}}`), "a", "b", false},
		{"auth wins", secret(corev1.SecretTypeDockerConfigJson, corev1.DockerConfigJsonKey, `{"auths":{"r.io":{"username":"a","password":"b","auth":"YzpkOmU="}}}`), "c", "d:e", false},
		{"auth unpadded", secret(corev1.SecretTypeDockerConfigJson, corev1.DockerConfigJsonKey, `{"auths":{"r.io":{"auth":"YzpkOmU"}}}`), "c", "d:e", false},
		{"cfg", secret(corev1.SecretTypeDockercfg, corev1.DockerConfigKey, `{"r.io":{"auth":"YzpkOmU="}}`), "c", "d:e", false},
		{"opaque", secret(corev1.SecretTypeOpaque, corev1.DockerConfigJsonKey, `{"auths":{"r.io":{"username":"a"}}}`), "", "", false},
		{"empty", secret(corev1.SecretTypeDockerConfigJson, corev1.DockerConfigJsonKey, ``), "", "", false},
		{"no colon", secret(corev1.SecretTypeDockerConfigJson, corev1.DockerConfigJsonKey, `{"auths":{"r.io":{"auth":"YWFh"}}}`), "", "", true},
		{"not base64", secret(corev1.SecretTypeDockercfg, corev1.DockerConfigKey, `{"r.io":{"auth":"!!!"}}`), "", "", true},
		{"not json", secret(corev1.SecretTypeDockercfg, corev1.DockerConfigKey, `{`), "", "", true},
	} {
		var k Keyring
		err := k.AddSecrets([]*corev1.Secret{tc.secret})
		if (err != nil) != tc.fails {
			t.Errorf("%s: error %v", tc.name, err)
		}
		var got Login
		if l := k.Lookup("r.io/app"); len(l) > 0 {
			got = l[0]
			if got.Secret == nil || *got.Secret != (Source{"u", "ns", "s"}) || got.Hash == "" {
				t.Errorf("%s: login %+v does not tell where it is from", tc.name, got)
			}
		}
		if got.Username != tc.user || got.Password != tc.password {
			t.Errorf("%s: got %q:%q", tc.name, got.Username, got.Password)
		}
	}
}

// TestHash: a kubelet that takes over the node must find the same hashes in the records of pulls.
func TestHash(t *testing.T) {
	// printf '{"username":"user","password":"pass"}' | sha256sum
	const want = "cb54b00fb550d4a17c448149caa29f38f4d5a44fb87c752e43db8160af3a032a"
	got := Entry{Username: "user", Password: "pass"}.hash()
	if got != want {
		t.Errorf("got %s", got)
	}
}

func FuzzDockerConfig(f *testing.F) {
	f.Add([]byte(`{"auths":{"r.io":{"username":"a","password":"b","auth":"YzpkOmU="}},"credHelpers":{"a":"b"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseDockerConfig(data)
		if err != nil {
			return
		}
		var k Keyring
		k.Add(c.Auths, nil, nil)
		k.Lookup("docker.io/library/nginx")
		for key := range c.Auths {
			Matches(key, "docker.io/library/nginx")
		}
	})
}

func FuzzResponse(f *testing.F) {
	f.Add([]byte(`{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Image","auth":{"r.io":{"username":"a","password":"b"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		answer, err := parseResponse(data, "credentialprovider.kubelet.k8s.io/v1")
		if err != nil {
			return
		}
		if _, err := json.Marshal(answer); err != nil {
			t.Error(err)
		}
	})
}
