package core

import (
	"crypto/tls"
	"encoding/json"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// secrets describes Secret.
func secrets() *catalogue.Resource {
	return catalogue.Describe[corev1.Secret, corev1.SecretList](catalogue.Kind[*corev1.Secret]{
		Resource:       api.Secrets.Resource,
		ValidateCreate: validateSecret,
		Metadata:       catalogue.ChangesThenWhole,
		ValidateUpdate: validateSecretUpdate,
		Warnings:       secretWarnings,
		PrepareUpdate:  func(s, old *corev1.Secret) { rule.SetIfEmpty(&s.Type, old.Type) },
		Columns:        secretColumns,
		Row:            secretRow,
		Default:        defaultSecret,
		Canonicalize:   func(s *corev1.Secret) { dropEmpty(&s.Data) },
		Fields: map[string]func(*corev1.Secret) string{
			"type": func(s *corev1.Secret) string { return string(s.Type) },
		},
	})
}

// defaultSecret also moves stringData, which is write-only, to where it is kept.
func defaultSecret(s *corev1.Secret) {
	rule.SetIfEmpty(&s.Type, corev1.SecretTypeOpaque)
	for key, value := range s.StringData {
		if s.Data == nil {
			s.Data = make(map[string][]byte, len(s.StringData))
		}
		s.Data[key] = []byte(value)
	}
	s.StringData = nil
}

var secretColumns = []table.Column{
	table.Name,
	table.String("Type", table.Doc(corev1.Secret{}, "type")),
	table.String("Data", table.Doc(corev1.Secret{}, "data")),
	table.Age,
}

func secretRow(s *corev1.Secret, now time.Time) []any {
	return []any{s.Name, string(s.Type), int64(len(s.Data)), table.Since(s.CreationTimestamp, now)}
}

func validateSecret(s *corev1.Secret) field.ErrorList {
	f := &rule.Faults{}
	size := 0
	at := field.NewPath("data")
	for _, key := range slices.Sorted(maps.Keys(s.Data)) {
		f.Each(at.Key(key), key, utilvalidation.IsConfigMapKey(key))
		size += len(s.Data[key])
	}
	if size > corev1.MaxSecretSize {
		f.Add(field.TooLong(at, "", corev1.MaxSecretSize))
	}
	secretOfType(f, s, at)
	return f.List
}

// secretOfType checks what the built-in types promise to their readers.
func secretOfType(f *rule.Faults, s *corev1.Secret, at *field.Path) {
	has := func(key string) bool { _, ok := s.Data[key]; return ok }
	need := func(key string) {
		if !has(key) {
			f.Required(at.Key(key), "")
		}
	}
	object := func(key string) {
		need(key)
		if err := json.Unmarshal(s.Data[key], &map[string]any{}); has(key) && err != nil {
			f.Invalid(at.Key(key), "<secret contents redacted>", err.Error())
		}
	}
	switch s.Type {
	case corev1.SecretTypeServiceAccountToken:
		f.Need(field.NewPath("metadata", "annotations").Key(corev1.ServiceAccountNameKey), s.Annotations[corev1.ServiceAccountNameKey])
	case corev1.SecretTypeDockercfg:
		object(corev1.DockerConfigKey)
	case corev1.SecretTypeDockerConfigJson:
		object(corev1.DockerConfigJsonKey)
	case corev1.SecretTypeBasicAuth:
		if !has(corev1.BasicAuthUsernameKey) && !has(corev1.BasicAuthPasswordKey) {
			need(corev1.BasicAuthUsernameKey)
			need(corev1.BasicAuthPasswordKey)
		}
	case corev1.SecretTypeSSHAuth:
		f.Need(at.Key(corev1.SSHAuthPrivateKey), string(s.Data[corev1.SSHAuthPrivateKey]))
	case corev1.SecretTypeTLS:
		need(corev1.TLSCertKey)
		need(corev1.TLSPrivateKeyKey)
	}
}

func validateSecretUpdate(s, old *corev1.Secret) field.ErrorList {
	f := &rule.Faults{}
	f.Unchanged(field.NewPath("type"), s.Type, old.Type)
	if old.Immutable != nil && *old.Immutable {
		sealed(f, "immutable", s.Immutable != nil && *s.Immutable)
		sealed(f, "data", sameBytes(s.Data, old.Data))
	}
	f.Add(validateSecret(s)...)
	return f.List
}

// secretWarnings: a key that does not fit its certificate is kept, but said.
func secretWarnings(s, _ *corev1.Secret) []string {
	if s.Type != corev1.SecretTypeTLS {
		return nil
	}
	if _, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]); err != nil {
		return []string{err.Error()}
	}
	return nil
}
