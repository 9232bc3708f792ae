package satoken

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"

	"clipper/api"
)

// leeway is how far clocks may be apart, and how long a token outlives the deletion of what it is bound to, so that a
// pod can still say goodbye. Upstream's figure.
const leeway = jwt.DefaultLeeway

// errInvalidated is what becomes of a token whose object is gone. The server answers 401; who reviews the token sees
// the text.
var errInvalidated = errors.New("service account token has been invalidated")

// A Checker decides who the bearer of a token is.
type Checker struct {
	signer          *Signer
	client          api.Client // to note when a legacy token was used
	serviceAccounts api.TypedView[*corev1.ServiceAccount]
	pods            api.TypedView[*corev1.Pod]
	secrets         api.TypedView[*corev1.Secret]
	nodes           api.TypedView[*corev1.Node]
	now             func() time.Time
	verified        tokenCache
}

// NewChecker returns a Checker of s' tokens that asks c's views for bound objects.
func NewChecker(s *Signer, c api.Client, now func() time.Time) *Checker {
	return &Checker{
		signer:          s,
		client:          c,
		serviceAccounts: api.ServiceAccounts.View(c),
		pods:            api.Pods.View(c),
		secrets:         api.Secrets.View(c),
		nodes:           api.Nodes.View(c),
		now:             now,
	}
}

// Check returns the user that token stands for, and those of the wanted audiences (nil: the API server's)
// that it is for. ok is false without an error if the token is none of ours.
func (c *Checker) Check(ctx context.Context, token string, audiences []string) (info user.Info, auds []string, ok bool, err error) {
	cl, hit := c.verified.get(token)
	if !hit || !c.signer.stillCounts(cl.keyID) {
		if cl, err = c.signer.verify(ctx, token); errors.Is(err, errNotOurs) {
			return nil, nil, false, nil
		} else if err != nil {
			return nil, nil, false, err
		}
		c.verified.put(token, cl)
	}
	if audiences == nil {
		audiences = c.signer.audiences
	}
	is := []string(cl.Audience)
	if len(is) == 0 { // unbound tokens carry none; they are for the API server only
		audit.AddAuditAnnotation(ctx, "authentication.k8s.io/legacy-token", cl.Subject)
		legacyUsed.Inc()
		is = c.signer.audiences
	}
	if auds = intersect(is, audiences); auds == nil {
		return nil, nil, false, fmt.Errorf("token audiences %q is invalid for the target audiences %q", is, audiences)
	}
	if cl.Issuer == LegacyIssuer {
		info, err = c.checkLegacy(ctx, cl, token)
	} else {
		info, err = c.checkBound(ctx, cl)
	}
	return info, auds, err == nil, err
}

// inTime says whether now is within the times of a token.
func inTime(cl *claims, now time.Time) error {
	switch {
	case cl.NotBefore != nil && now.Add(leeway).Before(cl.NotBefore.Time()):
		return errors.New("service account token is not valid yet")
	case now.Add(-leeway).After(cl.Expiry.Time()):
		return errors.New("service account token has expired")
	case cl.IssuedAt != nil && now.Add(leeway).Before(cl.IssuedAt.Time()):
		return errors.New("service account token is issued in the future")
	}
	return nil
}

func (c *Checker) checkBound(ctx context.Context, cl *claims) (user.Info, error) {
	now, k := c.now(), cl.Kubernetes
	if err := inTime(cl, now); err != nil {
		return nil, err
	}
	dead := now.Add(-leeway) // what was deleted before this binds no more
	if err := c.accountThere(k, dead); err != nil {
		return nil, err
	}
	out := serviceaccount.ServiceAccountInfo{Namespace: k.Namespace, Name: k.ServiceAccount.Name, UID: string(k.ServiceAccount.UID)}
	if cl.ID != "" {
		out.CredentialID = "JTI=" + cl.ID
	}
	if k.Secret != nil {
		secret, found := c.secrets.Get(k.Namespace, k.Secret.Name)
		if err := stillThere("secret", secret, found, *k.Secret, dead); err != nil {
			return nil, err
		}
	}
	if k.Pod != nil {
		pod, found := c.pods.Get(k.Namespace, k.Pod.Name)
		if err := stillThere("pod", pod, found, *k.Pod, dead); err != nil {
			return nil, err
		}
		out.PodName, out.PodUID = k.Pod.Name, string(k.Pod.UID)
	}
	if k.Node != nil {
		if k.Pod == nil { // beside a pod the node is only information
			node, found := c.nodes.Get("", k.Node.Name)
			if err := stillThere("node", node, found, *k.Node, dead); err != nil {
				return nil, err
			}
		}
		out.NodeName, out.NodeUID = k.Node.Name, string(k.Node.UID)
	}
	switch {
	case k.WarnAfter == nil:
	case now.After(k.WarnAfter.Time()):
		stale.Inc()
		audit.AddAuditAnnotation(ctx, "authentication.k8s.io/stale-token",
			fmt.Sprintf("subject: %s, seconds after warning threshold: %d", cl.Subject, now.Unix()-k.WarnAfter.Time().Unix()))
	default:
		valid.Inc()
	}
	return out.UserInfo(), nil
}

// accountThere says whether the service account of a bound token is still the one that it was made for.
func (c *Checker) accountThere(k *private, dead time.Time) error {
	sa, found := c.serviceAccounts.Get(k.Namespace, k.ServiceAccount.Name)
	switch {
	case !found:
		return apierrors.NewNotFound(api.ServiceAccounts.GroupResource(), k.ServiceAccount.Name)
	case sa.UID != k.ServiceAccount.UID:
		return fmt.Errorf("service account UID (%s) does not match claim (%s)", sa.UID, k.ServiceAccount.UID)
	case sa.DeletionTimestamp != nil && sa.DeletionTimestamp.Time.Before(dead):
		return fmt.Errorf("service account %s/%s has been deleted", k.Namespace, k.ServiceAccount.Name)
	}
	return nil
}

// stillThere says whether obj is the very object of ref and was not deleted before dead.
func stillThere(kind string, obj metav1.Object, found bool, ref Ref, dead time.Time) error {
	switch {
	case !found:
		return errInvalidated
	case obj.GetUID() != ref.UID:
		return fmt.Errorf("%s UID (%s) does not match service account %s ref claim (%s)", kind, obj.GetUID(), kind, ref.UID)
	}
	if t := obj.GetDeletionTimestamp(); t != nil && t.Time.Before(dead) {
		return errInvalidated
	}
	return nil
}

// Within reports whether audiences are some of the API server's own: others' tokens are left as they are asked for.
func (s *Signer) Within(audiences []string) bool {
	return !slices.ContainsFunc(audiences, func(a string) bool { return !slices.Contains(s.audiences, a) })
}
