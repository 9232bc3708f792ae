package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/plugin"
	"k8s.io/kubectl/pkg/cmd/util"

	"clipper/daemon"
	"clipper/sandbox"
)

// newKubectl stands for kubectl in the help; Main hands its arguments over before cobra sees them, since
// kubectl's own command tree is costly to build and has flags that would clash.
func newKubectl() *cobra.Command {
	return &cobra.Command{
		Use:   "kubectl [ARGS]...",
		Short: "Run the built-in kubectl",
		Long: `Run the built-in kubectl, upstream's command tree unchanged.

Without --kubeconfig, KUBECONFIG and ~/.kube/config it talks to this machine's
server, or else to the local cluster named "default".`,
		Example: `  clipper kubectl get nodes
  ln -s "$(command -v clipper)" /usr/local/bin/kubectl   # the same by its own name`,
		DisableFlagParsing: true,
		RunE:               func(_ *cobra.Command, args []string) error { return asExit(Kubectl(args)) },
	}
}

// Kubectl runs kubectl with args and returns its exit code.
func Kubectl(args []string) int {
	if err := defaultKubeconfig(); err != nil {
		fmt.Fprintf(os.Stderr, "clipper: %v\n", err)
		return 1
	}
	config := genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag().WithDiscoveryBurst(300).WithDiscoveryQPS(50)
	os.Args = append([]string{"kubectl"}, args...) // where kubectl's plugin and warning code looks
	err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommandWithArgs(cmd.KubectlOptions{
		PluginHandler: cmd.NewDefaultPluginHandler(plugin.ValidPluginFilenamePrefixes),
		Arguments:     os.Args,
		ConfigFlags:   config,
		IOStreams:     genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr},
	}))
	if err == nil {
		return 0
	}
	util.CheckErr(err) // exits, with kubectl's words for it
	return 1
}

// defaultKubeconfig points KUBECONFIG at the cluster of this machine when the user has set nothing.
func defaultKubeconfig() error {
	if os.Getenv(clientcmd.RecommendedConfigPathEnvVar) != "" {
		return nil
	}
	if _, err := os.Stat(clientcmd.RecommendedHomeFile); err == nil {
		return nil
	}
	for _, path := range []string{filepath.Join(daemon.DefaultDataDir, daemon.KubeconfigName), sandbox.KubeconfigPath(sandbox.DefaultName)} {
		if _, err := os.Stat(path); err == nil {
			return os.Setenv(clientcmd.RecommendedConfigPathEnvVar, path)
		}
	}
	return nil
}
