/** Prints a firewall plan as the shell commands that would carry it out. Pure. */
import { iptablesProgram } from './facts.ts';
import { iptablesChains, OPTIONAL_PURPOSES } from './iptables-text.ts';
import type { FirewallPlan, FirewallStep } from './plan.ts';

export function formatFirewallPlan(plan: FirewallPlan): string {
  const notes = plan.notes.map((note) => `# ${note}\n`).join('');
  const loopback = plan.routeLoopback ? `echo 1 >/proc/sys/net/ipv4/conf/${plan.bridge}/route_localnet\n` : '';
  const checksums = plan.checksums.map((line) => `tc ${line} 2>/dev/null   # if the kernel can\n`).join('');
  return notes + plan.steps.map((step) => formatStep(step, plan.bridge)).join('') + checksums + loopback;
}

function formatStep(step: FirewallStep, bridge: string): string {
  if (step.kind === 'nft') return heredoc('nft -f -', step.script);
  const restore = `${iptablesProgram(step.command, step.family, 'restore')} --noflush`;
  const needed = iptablesChains(bridge, step.rules);
  const optional = iptablesChains(bridge, step.rules, '', OPTIONAL_PURPOSES);
  const parts = [needed, optional].filter((text) => text !== '');
  return parts.map((text) => heredoc(restore, text)).join('');
}

function heredoc(command: string, text: string): string {
  return `${command} <<'END'\n${text}END\n`;
}
