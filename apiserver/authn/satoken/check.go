package satoken

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"

	"clipper/api"
)

// deletionLeeway is how long a token outlives the deletion of what it is bound to, so that a pod can
// still say goodbye. Upstream's figure.
const deletionLeeway = 60 * time.Second

// Faults of a token that is ours. The server answers 401 to all of them.
var (
	errExpired     = errors.New("service account token has expired")
	errNotYet      = errors.New("service account token is not valid yet")
	errInvalidated = errors.New("service account token has been invalidated")
)

// A Checker decides who the bearer of a token is.
type Checker struct {
	signer          *Signer
	audiences       []string // of the API server
	serviceAccounts api.TypedView[*corev1.ServiceAccount]
	pods            api.TypedView[*corev1.Pod]
	secrets         api.TypedView[*corev1.Secret]
	nodes           api.TypedView[*corev1.Node]
	now             func() time.Time
	verified        tokenCache
}

// NewChecker returns a Checker of s' tokens that asks c's views for bound objects. The API server's own
// audience is the issuer.
func NewChecker(s *Signer, c api.Client, now func() time.Time) *Checker {
	return &Checker{
		signer:          s,
		audiences:       []string{s.issuer},
		serviceAccounts: api.ServiceAccounts.View(c),
		pods:            api.Pods.View(c),
		secrets:         api.Secrets.View(c),
		nodes:           api.Nodes.View(c),
		now:             now,
	}
}

// Check returns the user that token stands for, and those of the wanted audiences (nil: the API server's)
// that it is for. ok is false without an error if the token is none of ours.
func (c *Checker) Check(token string, audiences []string) (info user.Info, auds []string, ok bool, err error) {
	cl, hit := c.verified.get(token)
	if !hit {
		if cl, err = c.signer.verify(token); errors.Is(err, errNotOurs) {
			return nil, nil, false, nil
		} else if err != nil {
			return nil, nil, false, err
		}
		c.verified.put(token, cl)
	}
	if audiences == nil {
		audiences = c.audiences
	}
	if cl.Issuer == LegacyIssuer {
		// Unbound tokens carry no audience; they are for the API server only.
		if auds = intersect(audiences, c.audiences); auds == nil {
			return nil, nil, false, errors.New("token audiences do not match")
		}
		info, err = c.checkLegacy(cl, token)
		return info, auds, err == nil, err
	}
	if auds = intersect(audiences, cl.Audience); auds == nil {
		return nil, nil, false, fmt.Errorf("token audiences %q is invalid for the target audiences %q", cl.Audience, audiences)
	}
	info, err = c.checkBound(cl)
	return info, auds, err == nil, err
}

func (c *Checker) checkBound(cl *claims) (user.Info, error) {
	now := c.now()
	if now.After(cl.Expiry.Time()) {
		return nil, errExpired
	}
	if cl.NotBefore != nil && now.Add(time.Minute).Before(cl.NotBefore.Time()) {
		return nil, errNotYet
	}
	k := cl.Kubernetes
	dead := now.Add(-deletionLeeway) // what was deleted before this binds no more
	sa, found := c.serviceAccounts.Get(k.Namespace, k.ServiceAccount.Name)
	if err := stillThere(sa, found, k.ServiceAccount, dead); err != nil {
		return nil, err
	}
	out := serviceaccount.ServiceAccountInfo{Namespace: k.Namespace, Name: sa.Name, UID: string(sa.UID)}
	if cl.ID != "" {
		out.CredentialID = "JTI=" + cl.ID
	}
	if k.Secret != nil {
		secret, found := c.secrets.Get(k.Namespace, k.Secret.Name)
		if err := stillThere(secret, found, *k.Secret, dead); err != nil {
			return nil, err
		}
	}
	if k.Pod != nil {
		pod, found := c.pods.Get(k.Namespace, k.Pod.Name)
		if err := stillThere(pod, found, *k.Pod, dead); err != nil {
			return nil, err
		}
		out.PodName, out.PodUID = k.Pod.Name, string(k.Pod.UID)
	}
	if k.Node != nil {
		if k.Pod == nil { // beside a pod the node is only information
			node, found := c.nodes.Get("", k.Node.Name)
			if err := stillThere(node, found, *k.Node, dead); err != nil {
				return nil, err
			}
		}
		out.NodeName, out.NodeUID = k.Node.Name, string(k.Node.UID)
	}
	return out.UserInfo(), nil
}

// stillThere says whether obj is the very object of ref and was not deleted before dead.
func stillThere(obj metav1.Object, found bool, ref Ref, dead time.Time) error {
	if !found || obj.GetUID() != ref.UID {
		return errInvalidated
	}
	if t := obj.GetDeletionTimestamp(); t != nil && t.Time.Before(dead) {
		return errInvalidated
	}
	return nil
}

func (c *Checker) checkLegacy(cl *claims, token string) (user.Info, error) {
	if cl.Subject != serviceaccount.MakeUsername(cl.LegacyNamespace, cl.LegacyName) {
		return nil, errors.New("sub claim does not name the service account")
	}
	secret, found := c.secrets.Get(cl.LegacyNamespace, cl.LegacySecretName)
	if !found || secret.DeletionTimestamp != nil ||
		subtle.ConstantTimeCompare(secret.Data[corev1.ServiceAccountTokenKey], []byte(token)) != 1 {
		return nil, errInvalidated
	}
	sa, found := c.serviceAccounts.Get(cl.LegacyNamespace, cl.LegacyName)
	if !found || sa.DeletionTimestamp != nil || sa.UID != cl.LegacyUID {
		return nil, errInvalidated
	}
	return serviceaccount.UserInfo(sa.Namespace, sa.Name, string(sa.UID)), nil
}

// WithoutAudience reports whether audiences leaves out the issuer: such a token is not for the API server.
func (s *Signer) WithoutAudience(audiences []string) bool {
	return len(audiences) > 0 && !slices.Contains(audiences, s.issuer)
}
