// Package certificates approves, signs and cleans up certificate signing requests. It approves by itself
// only what machines need to join and to renew their certificates; it signs, for the signers that belong
// to every cluster, whatever has been approved.
package certificates

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"clipper/api"
	"clipper/controllers/queue"
	"clipper/pki"
)

const (
	workers  = 2
	longest  = 365 * 24 * time.Hour
	shortest = 10 * time.Minute
	short    = 8 * time.Hour // below this the end of a certificate is exact
)

// How long requests are kept: upstream's figures.
const (
	keepDone    = time.Hour      // approved, denied or failed
	keepPending = 24 * time.Hour // nobody decided
)

// A Signer signs certificates.
type Signer interface {
	SignRequest(req *x509.CertificateRequest, usage x509.KeyUsage, ext []x509.ExtKeyUsage, life time.Duration) (*x509.Certificate, error)
}

// A Controller is the certificate controller.
type Controller struct {
	client   api.Client
	authz    authorizer.Authorizer
	signer   Signer
	reserved Reserved
	nodes    api.TypedView[*corev1.Node]
	now      func() time.Time
	queue    *queue.Queue[string]
}

// New returns the controller; Run starts it.
func New(c api.Client, az authorizer.Authorizer, s Signer, reserved Reserved) *Controller {
	k := &Controller{client: c, authz: az, signer: s, reserved: reserved, nodes: api.Nodes.View(c), now: time.Now}
	k.queue = queue.New("certificate", workers, k.sync)
	return k
}

// Run works until ctx ends.
func (k *Controller) Run(ctx context.Context) error {
	return k.queue.Run(ctx, queue.Source{View: api.CertificateSigningRequests.View(k.client).View, Handle: func(e api.Event) {
		count(e)
		if e.Type != api.Deleted {
			k.queue.Add(e.New.GetName())
		}
	}})
}

func (k *Controller) sync(ctx context.Context, name string) error {
	csr, ok := api.CertificateSigningRequests.View(k.client).Get("", name)
	if !ok || csr.DeletionTimestamp != nil {
		return nil
	}
	if left := k.left(csr); left <= 0 {
		return k.remove(ctx, csr)
	} else {
		k.queue.AddAfter(name, left)
	}
	approved, over := state(csr)
	if over || len(csr.Status.Certificate) > 0 {
		return nil
	}
	rule, ours := signers[csr.Spec.SignerName]
	if !ours {
		return nil
	}
	req, err := parse(csr.Spec.Request)
	if err != nil {
		return nil // validation lets none of these in
	}
	if !approved {
		if why := k.approval(ctx, csr, req); why != "" {
			return k.approve(ctx, csr, why) // the next event signs
		}
		return nil
	}
	if err := rule(req, csr.Spec.Usages); err != nil {
		return k.fail(ctx, csr, err)
	}
	return k.sign(ctx, csr, req)
}

// left is how long csr is kept from now.
func (k *Controller) left(csr *certificatesv1.CertificateSigningRequest) time.Duration {
	keep, since := keepPending, csr.CreationTimestamp.Time
	for _, c := range csr.Status.Conditions {
		keep = keepDone
		if c.LastUpdateTime.After(since) {
			since = c.LastUpdateTime.Time
		}
	}
	return since.Add(keep).Sub(k.now())
}

func (k *Controller) remove(ctx context.Context, csr *certificatesv1.CertificateSigningRequest) error {
	err := api.CertificateSigningRequests.DeleteThis(ctx, k.client, csr, metav1.DeleteOptions{})
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return fmt.Errorf("certificatesigningrequest %s: delete, its time is over: %w", csr.Name, err)
}

// state says whether csr is approved, and whether it is denied or failed for good.
func state(csr *certificatesv1.CertificateSigningRequest) (approved, over bool) {
	for _, c := range csr.Status.Conditions {
		switch c.Type {
		case certificatesv1.CertificateApproved:
			approved = true
		case certificatesv1.CertificateDenied, certificatesv1.CertificateFailed:
			over = true
		}
	}
	return approved, over
}

func (k *Controller) approve(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, why string) error {
	next := csr.DeepCopy()
	next.Status.Conditions = append(next.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "AutoApproved", Message: why})
	return k.write(ctx, "approval", next)
}

func (k *Controller) fail(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, why error) error {
	next := csr.DeepCopy()
	next.Status.Conditions = append(next.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue, Reason: "SignerValidationFailure", Message: why.Error()})
	return k.write(ctx, "status", next)
}

func (k *Controller) sign(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, req *x509.CertificateRequest) error {
	usage, ext, err := usagesOf(csr.Spec.Usages)
	if err != nil {
		return k.fail(ctx, csr, err)
	}
	cert, err := k.signer.SignRequest(req, usage, ext, lifeFor(csr.Spec.ExpirationSeconds))
	if err != nil {
		return fmt.Errorf("certificatesigningrequest %s: %w", csr.Name, err)
	}
	next := csr.DeepCopy()
	next.Status.Certificate = pki.EncodeCert(cert)
	return k.write(ctx, "status", next)
}

// lifeFor is how long a certificate lasts from now. Certificates begin a little earlier than now; those that last long
// end as much earlier, so that their whole life is what was asked for.
func lifeFor(seconds *int32) time.Duration {
	life := longest
	if seconds != nil {
		life = max(shortest, min(longest, time.Duration(*seconds)*time.Second))
	}
	if life >= short {
		life -= pki.Backdate
	}
	return life
}

func (k *Controller) write(ctx context.Context, sub string, csr *certificatesv1.CertificateSigningRequest) error {
	_, err := k.client.Update(ctx, api.CertificateSigningRequests.Resource, sub, csr, metav1.UpdateOptions{})
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("certificatesigningrequest %s: write %s: %w", csr.Name, sub, err)
}

func parse(data []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}
