import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ErrorCode, VirtError } from '../../../core/errors.ts';
import { parseDomain } from '../../../model/domain/domain.ts';
import { ContainerLabels } from './container-labels.ts';
import { DEFAULT_LXC_CONFIG } from './lxc-config.ts';

let folder = '';
/** Hosts by what labels processes on them. */
const host = (name: 'bare' | 'apparmor' | 'selinux') => ({
  proc: join(folder, name, 'proc'),
  sys: join(folder, name, 'sys'),
});

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lxc-labels-'));
  for (const name of ['bare', 'apparmor', 'selinux'])
    mkdirSync(join(folder, name, 'proc/self/attr'), { recursive: true });
  const parameters = join(folder, 'apparmor/sys/module/apparmor/parameters');
  const profiles = join(folder, 'apparmor/sys/kernel/security/apparmor');
  for (const dir of [parameters, profiles, join(folder, 'selinux/sys/fs/selinux')]) mkdirSync(dir, { recursive: true });
  writeFileSync(join(parameters, 'enabled'), 'Y\n');
  writeFileSync(join(profiles, 'profiles'), 'containers (enforce)\nloose (complain)\n');
  writeFileSync(join(folder, 'selinux/sys/fs/selinux/enforce'), '1');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function labelled(...labels: string[]): ReturnType<typeof parseDomain>['domain'] {
  return parseDomain(`<domain type='lxc'><name>x</name>${labels.join('')}</domain>`).domain;
}

function codeOf(call: () => unknown): string {
  try {
    call();
    return 'ok';
  } catch (error) {
    if (!(error instanceof VirtError)) throw error;
    return Object.entries(ErrorCode).find(([, code]) => code === error.code)?.[0] ?? '';
  }
}

const NAMED = "<seclabel type='static' model='apparmor' relabel='no'><label>containers</label></seclabel>";

describe('which module labels containers', () => {
  it.each([
    ['bare', undefined, 'none'],
    ['bare', 'none', 'none'],
    ['apparmor', undefined, 'apparmor'],
    ['apparmor', 'none', 'none'],
    ['selinux', undefined, 'selinux'],
  ] as const)('on a host that is %s, with security_driver %s: %s', (name, securityDriver, model) => {
    expect(new ContainerLabels({ ...DEFAULT_LXC_CONFIG, securityDriver }, host(name)).model).toBe(model);
  });

  it.each([
    ['a module that the kernel has not', 'bare', { securityDriver: 'apparmor' }],
    ['another than the kernel has', 'apparmor', { securityDriver: 'selinux' }],
    ['confinement where nothing confines', 'bare', { securityRequireConfined: true }],
    ['confinement by nothing', 'apparmor', { securityDriver: 'none', securityRequireConfined: true }],
  ] as const)('%s is refused at once', (_, name, settings) => {
    expect(() => new ContainerLabels({ ...DEFAULT_LXC_CONFIG, ...settings }, host(name))).toThrow(
      /^unsupported configuration: lxc\.conf: /,
    );
  });

  it('default confinement where nothing confines is no error, as with libvirt', () => {
    const labels = new ContainerLabels({ ...DEFAULT_LXC_CONFIG, securityDefaultConfined: true }, host('bare'));
    expect(codeOf(() => labels.check(labelled()))).toBe('ok');
  });
});

describe('whether a container may start with its labels', () => {
  it.each([
    ['bare', '', 'ok'],
    ['bare', "<seclabel type='none'/>", 'ok'],
    ['bare', NAMED, 'CONFIG_UNSUPPORTED'],
    ['bare', "<seclabel type='none' model='apparmor'/>", 'CONFIG_UNSUPPORTED'],
    ['apparmor', '', 'ok'],
    ['apparmor', NAMED, 'ok'],
    ['apparmor', NAMED.replace('containers', 'loose'), 'ok'],
    ['apparmor', NAMED.replace('containers', 'missing'), 'XML_ERROR'],
    ['apparmor', "<seclabel type='dynamic' model='apparmor'/>", 'CONFIG_UNSUPPORTED'],
    ['apparmor', "<seclabel type='none'/>", 'ok'],
    ['selinux', NAMED, 'CONFIG_UNSUPPORTED'],
    ['selinux', "<seclabel type='static' model='selinux' relabel='no'><label>a:b:c:s0</label></seclabel>", 'ok'],
  ] as const)('on a host that is %s: %s: %s', (name, label, code) => {
    const labels = new ContainerLabels(DEFAULT_LXC_CONFIG, host(name));
    expect(codeOf(() => labels.check(labelled(label)))).toBe(code);
  });

  it.each([
    ['', 'CONFIG_UNSUPPORTED'],
    ["<seclabel type='none'/>", 'CONFIG_UNSUPPORTED'],
    [NAMED, 'ok'],
  ])('where confinement is required, %s: %s', (label, code) => {
    const labels = new ContainerLabels({ ...DEFAULT_LXC_CONFIG, securityRequireConfined: true }, host('apparmor'));
    expect(codeOf(() => labels.check(labelled(label)))).toBe(code);
  });

  it('where confinement is the default, one without labels is not started without it', () => {
    const labels = new ContainerLabels({ ...DEFAULT_LXC_CONFIG, securityDefaultConfined: true }, host('apparmor'));
    expect(() => labels.check(labelled())).toThrow(
      /no apparmor profile is generated .* name one with <seclabel type='static'/,
    );
    expect(codeOf(() => labels.check(labelled("<seclabel type='none'/>")))).toBe('ok');
  });
});
