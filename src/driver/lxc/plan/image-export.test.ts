import { describe, expect, it } from 'vitest';
import { imageFormat, planImageExport } from './image-export.ts';

const PLACES = { place: '/run/c/image-1', lock: '/run/c/image-1.lock' };
const SOCKET = `--socket=${PLACES.place}.nbd`;
const IMAGE = { file: '/srv/a, b".qcow2', format: 'qcow2', readonly: false };

/** What the script is called with. */
function wordsOf({ args }: ReturnType<typeof planImageExport>): readonly string[] {
  return args.slice(args.indexOf('image-export') + 1);
}

describe('an image of a container', () => {
  it('is a file of the storage daemon, whatever its name', () => {
    const planned = planImageExport(IMAGE, { storageDaemon: '/usr/bin/qsd', nbd: '/usr/bin/qemu-nbd' }, PLACES);
    expect(planned.command).toBe('unshare');
    expect(planned.args.slice(0, 3)).toEqual(['--mount', '--propagation', 'private']);
    const [lock, access, place, program, , file, , image, , shown] = wordsOf(planned);
    expect([lock, access, place, program]).toEqual([PLACES.lock, 'rw', PLACES.place, '/usr/bin/qsd']);
    expect(JSON.parse(file ?? '')).toMatchObject({ driver: 'file', filename: IMAGE.file, 'read-only': false });
    expect(JSON.parse(image ?? '')).toMatchObject({ driver: 'qcow2', file: 'file', 'read-only': false });
    expect(JSON.parse(shown ?? '')).toMatchObject({ type: 'fuse', mountpoint: PLACES.place, writable: true });
  });

  it('that may not be written is opened for reading all the way', () => {
    const words = wordsOf(planImageExport({ ...IMAGE, readonly: true }, { storageDaemon: '/q' }, PLACES));
    expect(words[1]).toBe('ro');
    expect(words.filter((word) => /"read-only":true|"writable":false/.test(word))).toHaveLength(3);
    const byNbd = wordsOf(planImageExport({ ...IMAGE, readonly: true }, { nbd: '/n' }, PLACES));
    expect(byNbd).toEqual([PLACES.lock, 'ro', '/n', SOCKET, '--format=qcow2', '--read-only', IMAGE.file]);
  });

  it("is the kernel's nbd where there is no FUSE, and refused where there is neither", () => {
    expect(wordsOf(planImageExport(IMAGE, { nbd: '/n' }, PLACES)).slice(2)).toEqual([
      '/n',
      SOCKET,
      '--format=qcow2',
      IMAGE.file,
    ]);
    expect(() => planImageExport(IMAGE, {}, PLACES)).toThrow(
      /neither: install qemu-system-common.*qemu-img convert -O raw/,
    );
  });

  it('of raw bytes needs no server', () => {
    expect(wordsOf(planImageExport({ ...IMAGE, format: 'raw' }, {}, PLACES))).toEqual([PLACES.lock, 'rw', IMAGE.file]);
  });

  it("has a format that libvirt and QEMU know, by QEMU's name", () => {
    expect(['qcow2', 'vhd', 'ploop', 'vmdk'].map((name) => imageFormat(name, 'x'))).toEqual([
      'qcow2',
      'vpc',
      'parallels',
      'vmdk',
    ]);
    expect(() => imageFormat('constructor', '<filesystem> on /x')).toThrow(/on \/x: there are no images of format/);
  });
});
