/** `nestling image build` of rpm and pacman systems by their own tools, from mirrors of tiny packages: what is installed, and what is left in the image. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { lookUpProgram } from '../../src/process/find-program.ts';
import { canRunImages, type ImageSession, openImages, tar } from './image-session.ts';

const canRun = canRunImages();

function hasAll(what: string, programs: readonly string[]): boolean {
  const missing = programs.filter((name) => lookUpProgram(name) === undefined);
  if (missing.length > 0) process.stderr.write(`SKIPPED: building ${what} needs ${missing.join(', ')}\n`);
  return canRun && missing.length === 0;
}

describe.skipIf(!canRun)('building other families', () => {
  let images: ImageSession;
  beforeAll(async () => {
    images = await openImages();
  });
  afterAll(() => images[Symbol.dispose]());

  /** Names of what an image has. */
  async function contentOf(image: string): Promise<string[]> {
    const file = join(images.folder, 'exported.tar');
    expect(await images.image('export', image, file)).toMatchObject({ status: 0 });
    return execFileSync('tar', ['-tf', file], { encoding: 'utf8' }).split('\n');
  }

  it.skipIf(!hasAll('rpm systems', ['dnf', 'rpmbuild', 'createrepo_c']))(
    'makes Fedora by dnf, whose database its own rpm finds',
    async () => {
      const mirror = join(images.folder, 'rpm');
      writeRpmMirror(mirror, ['fedora-release-container', 'bash', 'coreutils', 'dnf', 'tiny']);
      const args = ['--mirror', `file://${mirror}`, '--insecure', '--arch', 'amd64', '--packages', 'tiny'];
      expect(await images.image('build', 'fedora:43', ...args)).toMatchObject({ status: 0 });
      const content = await contentOf('fedora:43');
      expect(content).toEqual(
        expect.arrayContaining(['./opt/tiny', './opt/bash', './usr/lib/sysimage/rpm/rpmdb.sqlite']),
      );
      // Nothing that the builder, or this host, had for itself.
      expect(content.filter((path) => /\.rpmdb|\.work-|\.rpm$|\.log$/.test(path))).toEqual([]);
      expect(await images.image('build', 'fedora:43', ...args, '--packages', 'none')).toMatchObject({
        status: 1,
        stderr: expect.stringMatching(/dnf ended with status 1: .*none.*there is no such package in this release/),
      });
      expect(images.leftovers()).toEqual([]);
    },
  );

  it.skipIf(!hasAll('Arch Linux', ['pacstrap', 'pacman']))(
    'makes Arch Linux by pacstrap, without the packages themselves',
    async () => {
      const mirror = join(images.folder, 'pacman');
      writePacmanMirror(mirror, ['base', 'tiny']);
      const args = ['--mirror', `file://${mirror}`, '--arch', 'amd64', '--packages', 'tiny'];
      expect(await images.image('build', 'arch', ...args, '--insecure')).toMatchObject({ status: 0 });
      const content = await contentOf('arch');
      expect(content).toEqual(expect.arrayContaining(['./opt/tiny', './var/lib/pacman/local/tiny-1-1/desc']));
      expect(content.filter((path) => /\.pkg\.tar|\.work-/.test(path))).toEqual([]);
      expect(await images.image('build', 'arch', ...args, '--packages', 'none', '--insecure')).toMatchObject({
        status: 1,
        stderr: expect.stringMatching(
          /pacstrap ended with status 1: .*none; .*there is no such package in this release/,
        ),
      });
      expect(images.leftovers()).toEqual([]);
    },
  );
});

/** As Fedora's: a file of its own in each package. */
function writeRpmMirror(folder: string, names: readonly string[]): void {
  const base = join(folder, 'releases/43/Everything/x86_64/os');
  mkdirSync(base, { recursive: true });
  const work = `${folder}.work`;
  mkdirSync(work);
  for (const name of names) {
    const spec = join(work, `${name}.spec`);
    const head = ['Version: 1', 'Release: 1', 'Summary: x', 'License: x', 'BuildArch: noarch'].join('\n');
    const body = `%description\nx\n%install\nmkdir -p %{buildroot}/opt; echo x >%{buildroot}/opt/${name}\n%files\n/opt/${name}\n`;
    writeFileSync(spec, `Name: ${name}\n${head}\n${body}`);
    const defines = [`_topdir ${work}`, `_rpmdir ${base}`, `_dbpath ${work}/db`];
    execFileSync('rpmbuild', ['--quiet', '-bb', ...defines.flatMap((text) => ['--define', text]), spec], {
      stdio: 'ignore',
    });
  }
  execFileSync('createrepo_c', ['--quiet', base]);
  rmSync(work, { recursive: true });
}

/** The databases as repo-add makes them, which Debian's package of pacman cannot. */
function writePacmanMirror(folder: string, names: readonly string[]): void {
  const database = join(folder, 'database');
  mkdirSync(database, { recursive: true });
  for (const name of names) {
    const file = `${name}-1-1-any.pkg.tar.gz`;
    const source = join(folder, name);
    mkdirSync(join(source, 'opt'), { recursive: true });
    writeFileSync(join(source, 'opt', name), 'x');
    const info = { pkgname: name, pkgbase: name, pkgver: '1-1', pkgdesc: 'x', arch: 'any', size: '1', builddate: '1' };
    const lines = Object.entries(info).map(([key, value]) => `${key} = ${value}\n`);
    writeFileSync(join(source, '.PKGINFO'), lines.join(''));
    tar('-czf', join(folder, file), '-C', source, '.PKGINFO', 'opt');
    const bytes = readFileSync(join(folder, file));
    const fields = {
      FILENAME: file,
      NAME: name,
      VERSION: '1-1',
      ARCH: 'any',
      CSIZE: bytes.length,
      ISIZE: 1,
      SHA256SUM: createHash('sha256').update(bytes).digest('hex'),
    };
    mkdirSync(join(database, `${name}-1-1`));
    const text = Object.entries(fields).map(([key, value]) => `%${key}%\n${value}\n\n`);
    writeFileSync(join(database, `${name}-1-1`, 'desc'), text.join(''));
  }
  tar('-czf', join(folder, 'core.db'), '-C', database, ...names.map((name) => `${name}-1-1`));
  tar('-czf', join(folder, 'extra.db'), '--files-from', '/dev/null');
}
