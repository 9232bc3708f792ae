package reviews_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"clipper/apiserver/apiservertest"
)

// warned collects the warnings that a client is given.
type warned struct {
	mu    sync.Mutex
	texts []string
}

func (w *warned) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.texts = append(w.texts, text)
}

// TestTokensOnTheWire: what a client sees of a token for an account that was made again, and of an outdated one.
func TestTokensOnTheWire(t *testing.T) {
	s := apiservertest.Start(t)
	admin := kubernetes.NewForConfigOrDie(s.Admin(t))
	accounts, secrets := admin.CoreV1().ServiceAccounts("default"), admin.CoreV1().Secrets("default")
	sa, err := accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	request := &authenticationv1.TokenRequest{ObjectMeta: metav1.ObjectMeta{UID: "old"}}
	_, err = accounts.CreateToken(t.Context(), "robot", request, metav1.CreateOptions{})
	want := `Operation cannot be fulfilled on TokenRequest.authentication.k8s.io "robot": the UID in the token request (old) ` +
		`does not match the UID of the service account (` + string(sa.UID) + `)`
	if !apierrors.IsConflict(err) || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	issued, err := accounts.CreateToken(t.Context(), "robot", &authenticationv1.TokenRequest{}, metav1.CreateOptions{FieldManager: "m"})
	if err != nil {
		t.Fatal(err)
	}
	if m := issued.ManagedFields; len(m) != 1 || m[0].Manager != "m" || m[0].APIVersion != "authentication.k8s.io/v1" || m[0].Subresource != "token" ||
		m[0].FieldsV1 == nil || m[0].FieldsV1.String() != `{"f:spec":{"f:expirationSeconds":{}}}` {
		t.Errorf("managed fields %v", m)
	}

	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "robot-token", Annotations: map[string]string{corev1.ServiceAccountNameKey: "robot"}},
		Type: corev1.SecretTypeServiceAccountToken}
	if _, err = secrets.Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	err = wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 10*time.Second, true, func(ctx context.Context) (bool, error) {
		secret, err = secrets.Get(ctx, secret.Name, metav1.GetOptions{})
		return err == nil && len(secret.Data[corev1.ServiceAccountTokenKey]) > 0, err
	})
	if err != nil {
		t.Fatal(err)
	}
	sa.Secrets = []corev1.ObjectReference{{Name: secret.Name}}
	if _, err = accounts.Update(t.Context(), sa, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	w := &warned{}
	cfg := s.Bearer(string(secret.Data[corev1.ServiceAccountTokenKey]))
	cfg.WarningHandler = w
	if _, err := kubernetes.NewForConfigOrDie(cfg).Discovery().ServerGroups(); err != nil {
		t.Fatal(err)
	}
	text := "Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated secret-based tokens."
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.texts, text) {
		t.Errorf("warned %q", w.texts)
	}
}
