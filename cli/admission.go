package cli

import (
	"github.com/spf13/cobra"

	"clipper/apiserver/admission/all"
	"clipper/apiserver/admission/tolerations"
)

// admissionFlags adds what says which admission plug-ins there are, under kube-apiserver's names.
func admissionFlags(cmd *cobra.Command, o *all.Options) {
	f := cmd.Flags()
	f.StringSliceVar(&o.Enable, "enable-admission-plugins", nil, "admission plug-ins beside those that are on by default ("+all.Names(false)+"); there are: "+all.Names(true))
	f.StringSliceVar(&o.Disable, "disable-admission-plugins", nil, "admission plug-ins that are off although they are on by default")
	o.Stay = &tolerations.Plugin{}
	f.Int64Var(&o.Stay.NotReady, "default-not-ready-toleration-seconds", tolerations.DefaultSeconds, "how long pods stay on a node that is not ready, unless they say otherwise")
	f.Int64Var(&o.Stay.Unreachable, "default-unreachable-toleration-seconds", tolerations.DefaultSeconds, "how long pods stay on a node that cannot be reached, unless they say otherwise")
	f.StringVar(&o.ConfigFile, "admission-control-config-file", "", "AdmissionConfiguration: the plug-ins' configurations, such as defaults and exemptions of PodSecurity, or limits of EventRateLimit")
}
