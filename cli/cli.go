// Package cli is the command line: it turns flags into options, hands them to the packages that do the
// work, and turns their errors into one clear line and an exit code. No decision lives here.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"clipper/cli/imagecmd"
	"clipper/cli/sandboxcmd"
)

// Main runs clipper with args and returns its exit code: 0, 1 for a failure, or that of the command run.
func Main(args []string) int {
	if len(args) > 0 && args[0] == "kubectl" {
		return Kubectl(args[1:])
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // whoever asks twice is in a hurry: the second signal ends the process
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var code exitCode
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	fmt.Fprintf(os.Stderr, "clipper: %v\n", err)
	return 1
}

// An exitCode is the error of a command that has already said what failed.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// asExit returns code as an error, nil for 0.
func asExit(code int) error {
	if code == 0 {
		return nil
	}
	return exitCode(code)
}

func newRoot() *cobra.Command {
	log := newLogging()
	root := &cobra.Command{
		Use:   "clipper",
		Short: "A Kubernetes cluster in one small binary",
		Long: `Clipper runs containers on one machine or many and speaks the Kubernetes v1.36 API:
kubectl, Helm and every other client work with it unchanged.

Try it on this machine, in a network of its own:
  clipper sandbox create
  clipper kubectl get nodes

Run it for real:
  clipper server                                     on the first machine
  clipper token create                               prints the token for the next ones
  clipper agent --server https://FIRST:6443 --token TOKEN`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return log.start() },
	}
	log.short(root.PersistentFlags())
	server, agent := newServer(), newAgent()
	for _, daemon := range []*cobra.Command{server, agent} {
		log.flags(daemon)
	}
	root.AddCommand(server, agent, newToken(), newSecretsEncryption(), newKubectl(), newVersion(), sandboxcmd.New(), imagecmd.New())
	refuseStrayWords(root)
	return root
}

// refuseStrayWords makes commands that only group others fail on a word they do not know; cobra would print
// their help and report success.
func refuseStrayWords(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		if sub.HasSubCommands() && !sub.Runnable() {
			sub.Args = cobra.NoArgs
			sub.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
		}
		refuseStrayWords(sub)
	}
}
