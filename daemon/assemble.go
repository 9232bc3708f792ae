package daemon

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"

	"clipper/apiserver"
	"clipper/apiserver/aggregation"
	"clipper/apiserver/audit"
	"clipper/apiserver/customresource"
	"clipper/apiserver/enablement"
	"clipper/apiserver/inprocess"
	"clipper/apiserver/pipeline"
	"clipper/apiserver/resourcemetrics"
	"clipper/apiserver/reviews"
	"clipper/apiserver/served"
	"clipper/catalogue"
	"clipper/openapi"
	"clipper/scheduler"
)

// assemble builds the way of a request, from the store outwards.
func (cp *controlPlane) assemble(ctx context.Context) error {
	builtin, err := enablement.Apply(described(), cp.options.Operation.RuntimeConfig)
	if err != nil {
		return fmt.Errorf("--runtime-config: %w", err)
	}
	table, err := served.NewTable(builtin)
	if err != nil {
		return err
	}
	live := served.NewLive(table)
	if err := cp.openDoor(live); err != nil {
		return err
	}
	if err := cp.identify(ctx); err != nil {
		return err
	}
	if err := cp.guard(); err != nil {
		return err
	}
	documents, err := cp.extend(live, builtin)
	if err != nil {
		return err
	}
	return cp.serve(ctx, live, documents)
}

// openDoor makes the one door to the store, and the client that goes through it in the API server's own name.
func (cp *controlPlane) openDoor(live *served.Live) (err error) {
	cp.pipeline = pipeline.New(pipeline.Config{Store: cp.store, Served: live, TypeConverter: openapi.TypeConverter(),
		DeleteWorkers: max(cp.options.Operation.DeleteWorkers, 1), WatchCache: cp.options.Operation.WatchCache})
	if cp.auditor, err = audit.New(cp.options.Operation.Audit); err != nil {
		return err
	}
	self := &user.DefaultInfo{Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup}}
	cp.client = inprocess.New(cp.auditor.Door(cp.pipeline), live, cp.store, self, "kube-apiserver") // the field manager that upstream writes as
	return nil
}

// extend adds what is not built in: kinds that users define, and servers behind the API. It returns the documents that
// describe all of it.
func (cp *controlPlane) extend(live *served.Live, builtin []*catalogue.Resource) (documents *openapi.Documents, err error) {
	documents = openapi.New(func() []*catalogue.Resource { return live.Table().Resources })
	cp.usage = resourcemetrics.New(resourcemetrics.Config{
		Client: cp.client, Identity: cp.callouts.nodes, Preferred: cp.options.Operation.preference(), Dial: cp.callouts.toNodes,
	})
	usage := resourcemetrics.Extension(cp.usage)
	cp.registrar = aggregation.NewRegistrar(cp.client, live, usage)
	cp.extensions = aggregation.New(aggregation.Config{
		Client: cp.client, Identity: cp.callouts.proxy, Dial: cp.callouts.toExtensions, Self: cp.loopback(),
		Changed: documents.Invalidate, Local: []*aggregation.Extension{usage},
	})
	documents.Extend(cp.extensions.Documents)
	// Extension servers ask this one what the user may do: upstream's controllers have the rights for it.
	if cp.held, err = cp.extensions.Held(serviceaccount.UserInfo(metav1.NamespaceSystem, "namespace-controller", "")); err != nil {
		return nil, err
	}
	if cp.collected, err = cp.extensions.Held(serviceaccount.UserInfo(metav1.NamespaceSystem, "generic-garbage-collector", "")); err != nil {
		return nil, err
	}
	cp.customs = customresource.New(customresource.Config{Client: cp.client, Live: live, Builtin: builtin, Self: cp.loopback(), Changed: func() {
		documents.Invalidate()
		cp.pipeline.Forget()
		cp.registrar.Changed()
	}})
	return documents, nil
}

// serve makes the server that clients talk to.
func (cp *controlPlane) serve(ctx context.Context, live *served.Live, documents *openapi.Documents) error {
	paths, err := cp.paths(live)
	if err != nil {
		return err
	}
	options := apiserver.Options{
		Pipeline:   cp.pipeline,
		Authn:      cp.authenticator,
		Authz:      cp.authorizer,
		Extra:      paths,
		TLS:        &tls.Config{Certificates: []tls.Certificate{cp.pki.Serving}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12},
		Listeners:  cp.listeners,
		Version:    apiserver.Version(),
		OpenAPI:    documents,
		Extensions: cp.extensions.Directory,
		Address:    cp.advertise.String(),
		Collectors: cp.counted(),
		NodeTLS:    cp.callouts.nodes,
		DialNode:   cp.callouts.toNodes,
		Log:        slog.Default(),
	}
	if err := cp.operate(ctx, &options); err != nil {
		return err
	}
	if err := cp.face(&options); err != nil {
		return err
	}
	cp.api = apiserver.New(options)
	return nil
}

// paths are those at which parts of the server answer themselves.
func (cp *controlPlane) paths(live *served.Live) (map[string]http.Handler, error) {
	paths, err := reviews.OIDC(cp.signer, cp.jwksURI())
	if err != nil {
		return nil, err
	}
	paths[encryptionPath] = cp.encryptionHandler(live)
	paths["/metrics/resources"] = scheduler.PodResources(cp.client) // upstream's scheduler shows it at a port of its own
	return paths, nil
}
