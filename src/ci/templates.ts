/** Small configurations for CI systems, to begin with: texts with comments, nothing else. Long because it is five files. */

export interface Template {
  /** Where the CI system looks for it. */
  readonly file: string;
  readonly content: string;
  /** What to do with it. */
  readonly next: string;
}

const PACKAGES = 'qemu-system-x86 qemu-utils ovmf iproute2 util-linux';

const SCRIPT = [
  'apt-get update',
  `apt-get install -y --no-install-recommends ${PACKAGES}`,
  'npm install --global nestling',
  '# Device nodes and cgroups, as far as this container allows; it prints what it does.',
  'nestling ci prepare --kvm || true',
  'nestling ci prepare --cgroups || true',
  '# Says what is missing, with the command that mends it.',
  'nestling doctor guest.xml',
  "# KVM where it really works, emulation elsewhere; the exit status is the job's.",
  'nestling run --accel auto --timeout 20m --console guest.xml',
];

const indent = (lines: readonly string[], by: string): string => lines.map((line) => `${by}${line}\n`).join('');
/** Comments stay comments in a list of commands. */
const asList = (lines: readonly string[], by: string): string =>
  lines.map((line) => (line.startsWith('#') ? `${by}${line}\n` : `${by}- ${line}\n`)).join('');

export const TEMPLATES: Readonly<Record<string, Template>> = {
  github: {
    file: '.github/workflows/guest.yml',
    next: 'commit it with guest.xml; KVM works on the hosted Linux runners once /dev/kvm may be opened',
    content: `# Runs a virtual machine in a job: guest.xml is libvirt domain XML.
name: guest
on: [push, pull_request]
jobs:
  guest:
    runs-on: ubuntu-latest
    timeout-minutes: 30
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-node@v4
        with:
          node-version: 22
      - name: Install QEMU and Nestling
        run: |
          sudo apt-get update
          sudo apt-get install -y --no-install-recommends ${PACKAGES}
          npm install --global nestling
      - name: Let this user open /dev/kvm
        # The runner is a machine of its own, so that changing it needs --host; root's PATH has no Node.
        run: sudo env "PATH=$PATH" nestling ci prepare --host --kvm --user "$USER"
      - name: Run the guest
        # 'sg' because the new group counts from the next login on.
        run: |
          sg kvm -c 'nestling doctor guest.xml'
          sg kvm -c 'nestling run --accel auto --timeout 20m --console guest.xml'
      - name: Keep what a bug report needs
        if: failure()
        run: nestling ci debug --output nestling-debug guest.xml
      - uses: actions/upload-artifact@v4
        if: failure()
        with:
          name: nestling-debug
          path: nestling-debug
`,
  },
  gitlab: {
    file: '.gitlab-ci.yml',
    next: 'commit it with guest.xml; for KVM the runner needs devices = ["/dev/kvm"] in its config.toml',
    content: `# Runs a virtual machine in a job: guest.xml is libvirt domain XML.
guest:
  image: node:22-bookworm
  timeout: 30 minutes
  script:
${asList(SCRIPT, '    ')}  after_script:
    # Runs after failures too.
    - nestling ci debug --output nestling-debug guest.xml
  artifacts:
    when: on_failure
    paths:
      - nestling-debug
`,
  },
  jenkins: {
    file: 'Jenkinsfile',
    next: 'commit it with guest.xml; the agent needs Docker, and /dev/kvm for speed',
    content: `// Runs a virtual machine in a job: guest.xml is libvirt domain XML.
pipeline {
  agent {
    docker {
      image 'node:22-bookworm'
      // --init: ended processes are waited for. Leave --device out where the agent has no KVM.
      args '--init --user root --device /dev/kvm'
    }
  }
  options {
    timeout(time: 30, unit: 'MINUTES')
  }
  stages {
    stage('guest') {
      steps {
        sh '''
${indent(SCRIPT, '          ')}        '''
      }
    }
  }
  post {
    failure {
      sh 'nestling ci debug --output nestling-debug guest.xml'
      archiveArtifacts artifacts: 'nestling-debug/**', allowEmptyArchive: true
    }
  }
}
`,
  },
  buildbot: {
    file: 'nestling_factory.py',
    next: 'put it beside master.cfg, and there: from nestling_factory import guest_factory; use guest_factory(URL) as the factory of a builder',
    content: `# A build factory that runs a virtual machine: guest.xml is libvirt domain XML.
# The worker needs ${PACKAGES}, Node.js 20.19 or newer,
# and once, as root: nestling ci prepare --host --kvm --user buildbot
from buildbot.plugins import steps, util


def guest_factory(repository):
    factory = util.BuildFactory()
    factory.addStep(steps.Git(repourl=repository, mode="incremental"))
    # Says what is missing on the worker, with the command that mends it.
    factory.addStep(steps.ShellCommand(name="doctor", command=["nestling", "doctor", "guest.xml"]))
    # The guest is a child of the worker and ends with the build, however that ends.
    factory.addStep(
        steps.ShellCommand(
            name="guest",
            command=["nestling", "run", "--accel", "auto", "--timeout", "20m", "--console", "guest.xml"],
            timeout=1500,
        )
    )
    return factory
`,
  },
  docker: {
    file: 'Dockerfile',
    next: 'docker build -t guests . && docker run --rm --init --device /dev/kvm -v "$PWD:/guests" guests run --accel auto --console guest.xml',
    content: `# An image that runs virtual machines from libvirt domain XML.
# Start it with --init, and with --device /dev/kvm where the host has KVM; it needs no other privilege for
# user-mode networking (taps: --device /dev/net/tun --cap-add NET_ADMIN).
FROM node:22-bookworm-slim
RUN apt-get update \\
 && apt-get install -y --no-install-recommends ${PACKAGES} \\
 && rm -rf /var/lib/apt/lists/*
RUN npm install --global nestling
# Guests need no root: the group of /dev/kvm is given with docker run --group-add.
WORKDIR /guests
ENTRYPOINT ["nestling"]
CMD ["doctor"]
`,
  },
};
