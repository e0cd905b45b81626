import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { parseDomain } from '../../../model/domain/domain.ts';
import { lookUpProgram } from '../../../process/find-program.ts';
import { describeContainerPlan, planContainerXml } from './describe-plan.ts';
import { lookUpRuntime } from './host-facts.ts';

describe.runIf(lookUpRuntime() !== undefined)('what a start would do', () => {
  it('is a command that a shell takes as it is printed', () => {
    const xml = `<domain type='lxc'><name>box</name><memory unit='MiB'>64</memory><os><type>exe</type><init>/bin/sh</init></os>
      <devices><filesystem type='mount'><source dir="/it's"/><target dir='/'/></filesystem></devices></domain>`;
    const { command, arguments: words } = planContainerXml(xml, {});
    // In the place of unshare: its last word, lines joined as the shell that gets it does.
    const echo = 'unshare() { shift $(($# - 1)); printf %s "$1"; }';
    const script = execFileSync('sh', ['-c', `${echo}; ${command}`], { encoding: 'utf8' });
    expect(script.replaceAll(/\\\n +/g, '')).toBe(words.at(-1));
    execFileSync('sh', ['-n', '-c', script]);
  });

  it.runIf(lookUpRuntime('runc') !== undefined && lookUpProgram('conmon') !== undefined)(
    'has conmon around runc',
    () => {
      const { domain } = parseDomain(
        `<domain type='lxc'><name>box</name><os><type>exe</type><init>/bin/sh</init></os>
        <devices><filesystem type='mount'><source dir='/srv'/><target dir='/'/></filesystem></devices></domain>`,
      );
      const { command } = describeContainerPlan(domain, () => undefined, 'runc');
      expect(command).toMatch(/exec \S*\/conmon .*--runtime=\S*\/runc .*--runtime-arg=run --runtime-arg=--detach/s);
    },
  );
});
