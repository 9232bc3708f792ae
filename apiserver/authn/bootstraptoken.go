package authn

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"clipper/api"
)

// Bootstrap tokens on the wire: the secret's type, the keys of its data and the names it leads to.
const (
	BootstrapTokenType         = corev1.SecretType("bootstrap.kubernetes.io/token")
	BootstrapTokenSecretPrefix = "bootstrap-token-"
	BootstrapTokenID           = "token-id"
	BootstrapTokenSecret       = "token-secret"
	BootstrapTokenExpiration   = "expiration"
	BootstrapTokenDescription  = "description"
	BootstrapTokenExtraGroups  = "auth-extra-groups"
	BootstrapTokenUsageAuth    = "usage-bootstrap-authentication"
	BootstrapTokenUsageSigning = "usage-bootstrap-signing"

	BootstrapUserPrefix = "system:bootstrap:"
	BootstrapGroup      = "system:bootstrappers"
)

var extraGroupPattern = regexp.MustCompile(`\Asystem:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]\z`)

// SplitBootstrapToken splits "abcdef.0123456789abcdef" into its public id and its secret.
func SplitBootstrapToken(token string) (id, secret string, ok bool) {
	id, secret, ok = strings.Cut(token, ".")
	if !ok || len(id) != 6 || len(secret) != 16 || !lowerAlphanumeric(id) || !lowerAlphanumeric(secret) {
		return "", "", false
	}
	return id, secret, true
}

func lowerAlphanumeric(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// bootstrapTokens knows the tokens with which machines join, kept as secrets in kube-system.
type bootstrapTokens struct {
	secrets api.TypedView[*corev1.Secret]
	now     func() time.Time
}

// user says whom a token stands for. Why one does not count is for the log: the bearer may be anybody.
func (b *bootstrapTokens) user(token string) (info user.Info, ok bool) {
	id, secret, ok := SplitBootstrapToken(token)
	if !ok {
		return nil, false
	}
	s, found := b.secrets.Get(metav1.NamespaceSystem, BootstrapTokenSecretPrefix+id)
	if !found {
		return nil, false
	}
	groups, err := checkBootstrapSecret(s, id, secret, b.now())
	if err != nil {
		slog.Info("bootstrap token refused", "id", id, "err", err)
		return nil, false
	}
	return &user.DefaultInfo{Name: BootstrapUserPrefix + id, Groups: groups}, true
}

// checkBootstrapSecret returns the groups that s gives the bearer of id and secret at the time now.
func checkBootstrapSecret(s *corev1.Secret, id, secret string, now time.Time) (groups []string, err error) {
	switch {
	case s.DeletionTimestamp != nil:
		return nil, errors.New("is being deleted")
	case s.Type != BootstrapTokenType:
		return nil, fmt.Errorf("its secret has type %q", s.Type)
	case string(s.Data[BootstrapTokenID]) != id:
		return nil, errors.New("its secret has another token-id")
	case subtle.ConstantTimeCompare(s.Data[BootstrapTokenSecret], []byte(secret)) != 1:
		return nil, errors.New("wrong secret")
	case BootstrapTokenExpired(s, now):
		return nil, errors.New("has expired")
	case string(s.Data[BootstrapTokenUsageAuth]) != "true":
		return nil, errors.New("is not for authentication")
	}
	groups = []string{BootstrapGroup}
	for g := range strings.SplitSeq(string(s.Data[BootstrapTokenExtraGroups]), ",") {
		if g == "" {
			continue
		}
		if !extraGroupPattern.MatchString(g) {
			return nil, fmt.Errorf("extra group %q is not of the form system:bootstrappers:NAME", g)
		}
		groups = append(groups, g)
	}
	return groups, nil
}

// BootstrapTokenExpired says whether a token's time is over. An expiration nobody can read is over.
func BootstrapTokenExpired(s *corev1.Secret, now time.Time) bool {
	at := string(s.Data[BootstrapTokenExpiration])
	if at == "" {
		return false
	}
	t, err := time.Parse(time.RFC3339, at)
	return err != nil || now.After(t)
}
