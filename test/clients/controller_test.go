package clients

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	extensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// A Site is a custom resource: a page with a title, which becomes a config map.
type Site struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              struct {
		Title string `json:"title"`
	} `json:"spec"`
	Status struct {
		Pages int `json:"pages"`
	} `json:"status,omitempty"`
}

// DeepCopyObject implements runtime.Object.
func (s *Site) DeepCopyObject() runtime.Object {
	c := *s
	s.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	return &c
}

// A SiteList is a list of them.
type SiteList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Site `json:"items"`
}

// DeepCopyObject implements runtime.Object.
func (l *SiteList) DeepCopyObject() runtime.Object {
	c := &SiteList{TypeMeta: l.TypeMeta, ListMeta: l.ListMeta}
	for i := range l.Items {
		c.Items = append(c.Items, *l.Items[i].DeepCopyObject().(*Site))
	}
	return c
}

var sites = schema.GroupVersion{Group: "web.example.com", Version: "v1"}

func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	s.AddKnownTypes(sites, &Site{}, &SiteList{})
	metav1.AddToGroupVersion(s, sites)
	if err := errors.Join(clientscheme.AddToScheme(s), extensionsv1.AddToScheme(s)); err != nil {
		t.Fatal(err)
	}
	return s
}

const finalizer = "web.example.com/cleanup"

// A siteReconciler keeps a config map for each site by server-side apply, and counts in the status.
type siteReconciler struct{ client.Client }

// Reconcile implements reconcile.Reconciler.
func (r *siteReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	site := &Site{}
	if err := r.Get(ctx, req.NamespacedName, site); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if site.DeletionTimestamp != nil {
		return ctrl.Result{}, r.end(ctx, site)
	}
	if controllerutil.AddFinalizer(site, finalizer) {
		return ctrl.Result{}, r.Update(ctx, site)
	}
	page := applycore.ConfigMap(site.Name+"-page", site.Namespace).WithData(map[string]string{"title": site.Spec.Title}).
		WithLabels(map[string]string{"site": site.Name})
	if err := r.Apply(ctx, page, client.FieldOwner("site-controller"), client.ForceOwnership); err != nil {
		return ctrl.Result{}, err
	}
	var pages corev1.ConfigMapList
	if err := r.List(ctx, &pages, client.InNamespace(site.Namespace), client.MatchingLabels{"site": site.Name}); err != nil {
		return ctrl.Result{}, err
	}
	if site.Status.Pages == len(pages.Items) {
		return ctrl.Result{}, nil
	}
	site.Status.Pages = len(pages.Items)
	return ctrl.Result{}, r.Status().Update(ctx, site)
}

// end removes what belongs to a site and lets it go.
func (r *siteReconciler) end(ctx context.Context, site *Site) error {
	page := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: site.Namespace, Name: site.Name + "-page"}}
	if err := r.Delete(ctx, page); client.IgnoreNotFound(err) != nil {
		return err
	}
	controllerutil.RemoveFinalizer(site, finalizer)
	return r.Update(ctx, site)
}

// siteRules refuses sites that shout, and warns of those that whisper.
type siteRules struct{}

func (siteRules) check(s *Site) (admission.Warnings, error) {
	switch s.Spec.Title {
	case strings.ToUpper(s.Spec.Title):
		return nil, errors.New("a title must not shout")
	case strings.ToLower(s.Spec.Title):
		return admission.Warnings{"a title should not whisper"}, nil
	}
	return nil, nil
}

// ValidateCreate implements admission.Validator.
func (r siteRules) ValidateCreate(_ context.Context, s *Site) (admission.Warnings, error) {
	return r.check(s)
}

// ValidateUpdate implements admission.Validator.
func (r siteRules) ValidateUpdate(_ context.Context, _, s *Site) (admission.Warnings, error) {
	return r.check(s)
}

// ValidateDelete implements admission.Validator.
func (siteRules) ValidateDelete(context.Context, *Site) (admission.Warnings, error) { return nil, nil }

// warned remembers what the server warns of.
type warned chan string

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (w warned) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	select {
	case w <- text:
	default:
	}
}

// TestController runs a controller as people write them: a cache, an elected leader, a finalizer, server-side
// apply, a status and a validating webhook.
func TestController(t *testing.T) {
	config := admin(t)
	log.SetLogger(zap.New(zap.WriteTo(io.Discard)))
	warnings := make(warned, 100)
	config.WarningHandlerWithContext = warnings
	c, err := client.New(config, client.Options{Scheme: scheme(t)})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(c.Create(ctx, siteDefinition()))
	must(c.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "sites"}}))
	eventually(t, "the kind is served", func() error { return c.List(ctx, &SiteList{}) })
	ca := runManager(t, config)

	eventually(t, "a lease is held", func() error {
		_, err := leaseHolder(ctx, c)
		return err
	})
	site := &Site{ObjectMeta: metav1.ObjectMeta{Namespace: "sites", Name: "home"}}
	site.Spec.Title = "Home"
	must(c.Create(ctx, site))
	key := client.ObjectKeyFromObject(site)
	eventually(t, "the page is there and counted", func() error {
		page := &corev1.ConfigMap{}
		if err := c.Get(ctx, client.ObjectKey{Namespace: "sites", Name: "home-page"}, page); err != nil {
			return err
		}
		if err := c.Get(ctx, key, site); err != nil {
			return err
		}
		if page.Data["title"] != "Home" || site.Status.Pages != 1 || len(site.Finalizers) != 1 {
			return errors.New("not yet: " + page.Data["title"] + " " + strconv.Itoa(site.Status.Pages))
		}
		return nil
	})

	must(c.Create(ctx, siteWebhook(ca)))
	loud := &Site{ObjectMeta: metav1.ObjectMeta{Namespace: "sites", Name: "loud"}}
	loud.Spec.Title = "LOUD"
	eventually(t, "the webhook refuses", func() error {
		switch err := c.Create(ctx, loud.DeepCopyObject().(*Site), client.DryRunAll); {
		case err == nil:
			return errors.New("accepted")
		case !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "a title must not shout"):
			return err
		}
		return nil
	})
	quiet := &Site{ObjectMeta: metav1.ObjectMeta{Namespace: "sites", Name: "quiet"}}
	quiet.Spec.Title = "quiet"
	must(c.Create(ctx, quiet))
	if !saw(warnings, "a title should not whisper") {
		t.Error("the webhook's warning has not come")
	}
	site.Spec.Title = "House"
	must(c.Update(ctx, site))
	eventually(t, "the page follows", func() error {
		page := &corev1.ConfigMap{}
		if err := c.Get(ctx, client.ObjectKey{Namespace: "sites", Name: "home-page"}, page); err != nil || page.Data["title"] == "House" {
			return err
		}
		return errors.New(page.Data["title"])
	})
	must(c.Delete(ctx, site))
	eventually(t, "site and page are gone", func() error {
		for _, o := range []client.Object{&Site{ObjectMeta: site.ObjectMeta}, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "sites", Name: "home-page"}}} {
			if err := c.Get(ctx, client.ObjectKeyFromObject(o), o); !apierrors.IsNotFound(err) {
				return errors.Join(errors.New("still there"), err)
			}
		}
		return nil
	})
}

func saw(w warned, text string) bool {
	for {
		select {
		case got := <-w:
			if got == text {
				return true
			}
		default:
			return false
		}
	}
}

func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = ok(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

func leaseHolder(ctx context.Context, c client.Client) (string, error) {
	lease := &metav1.PartialObjectMetadata{}
	lease.SetGroupVersionKind(schema.GroupVersionKind{Group: "coordination.k8s.io", Version: "v1", Kind: "Lease"})
	err := c.Get(ctx, client.ObjectKey{Namespace: "sites", Name: "site-controller"}, lease)
	return lease.Name, err
}

func siteDefinition() *extensionsv1.CustomResourceDefinition {
	object := func(properties map[string]extensionsv1.JSONSchemaProps) extensionsv1.JSONSchemaProps {
		return extensionsv1.JSONSchemaProps{Type: "object", Properties: properties}
	}
	root := object(map[string]extensionsv1.JSONSchemaProps{
		"spec":   object(map[string]extensionsv1.JSONSchemaProps{"title": {Type: "string"}}),
		"status": object(map[string]extensionsv1.JSONSchemaProps{"pages": {Type: "integer"}}),
	})
	return &extensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "sites.web.example.com"},
		Spec: extensionsv1.CustomResourceDefinitionSpec{
			Group: sites.Group, Scope: extensionsv1.NamespaceScoped,
			Names: extensionsv1.CustomResourceDefinitionNames{Plural: "sites", Kind: "Site"},
			Versions: []extensionsv1.CustomResourceDefinitionVersion{{
				Name: sites.Version, Served: true, Storage: true,
				Schema:       &extensionsv1.CustomResourceValidation{OpenAPIV3Schema: &root},
				Subresources: &extensionsv1.CustomResourceSubresources{Status: &extensionsv1.CustomResourceSubresourceStatus{}},
			}},
		},
	}
}

// A served webhook: where it listens and whom to trust.
type listening struct {
	url string
	ca  []byte
}

func siteWebhook(at listening) *admissionv1.ValidatingWebhookConfiguration {
	url := at.url + "/validate-web-example-com-v1-site"
	none := admissionv1.SideEffectClassNone
	return &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "sites"},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name: "sites.web.example.com", SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionv1.WebhookClientConfig{URL: &url, CABundle: at.ca},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
				Rule:       admissionv1.Rule{APIGroups: []string{sites.Group}, APIVersions: []string{"*"}, Resources: []string{"sites"}},
			}},
		}},
	}
}

// runManager starts the controller; it ends with the test.
func runManager(t *testing.T, config *rest.Config) listening {
	t.Helper()
	dir := t.TempDir()
	ca := writeCertificate(t, dir)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().(*net.TCPAddr)
	l.Close()
	m, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme(t), Metrics: metricsserver.Options{BindAddress: "0"},
		LeaderElection: true, LeaderElectionID: "site-controller", LeaderElectionNamespace: "sites", LeaderElectionReleaseOnCancel: true,
		WebhookServer: webhook.NewServer(webhook.Options{Host: "127.0.0.1", Port: address.Port, CertDir: dir}),
	})
	if err != nil {
		t.Fatal(err)
	}
	err = ctrl.NewControllerManagedBy(m).For(&Site{}).Complete(&siteReconciler{m.GetClient()})
	if err == nil {
		err = ctrl.NewWebhookManagedBy(m, &Site{}).WithValidator(siteRules{}).Complete()
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- m.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return listening{"https://" + address.String(), ca}
}

// writeCertificate makes the webhook's, which signs itself.
func writeCertificate(t *testing.T, dir string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sites"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "tls.crt"), certPEM, 0o600), os.WriteFile(filepath.Join(dir, "tls.key"), keyPEM, 0o600)); err != nil {
		t.Fatal(err)
	}
	return certPEM
}
