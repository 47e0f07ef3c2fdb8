#!/usr/bin/env python3
"""Checks deploy/kubernetes and the balancer of docker-compose.yml, as far as that goes without a cluster.

  tests/manifests.py [BINARY]      default: target/debug/idgate

Every object is valid under the schemas of its kind: those of Kubernetes itself from PyPI's kubernetes-validate, strictly,
the ServiceMonitor's from npm's @kubernetes-models/prometheus-operator, which is installed below target/manifests. Names,
labels, ports, volumes and secrets that one object takes from another are there. `idgate check` accepts idgate.toml, with
invented secrets in the places where the StatefulSet mounts them. haproxy accepts config/load-balancer.cfg.
Needs kubernetes-validate and PyYAML, npm, openssl and haproxy.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

PROJECT = pathlib.Path(__file__).resolve().parent.parent
BINARY = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else PROJECT / "target/debug/idgate").resolve()
MANIFESTS = PROJECT / "deploy/kubernetes"
WORK = PROJECT / "target/manifests"
OPERATOR_MODELS = "@kubernetes-models/prometheus-operator@6.0.0"
# What our users run today, and the newest that the package knows.
VERSIONS = ["1.30", kubernetes_validate.latest_version()]


def run(*command, **options):
    ran = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300, **options)
    if ran.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{ran.stdout}{ran.stderr}")
    return ran.stdout


def objects():
    """What `kubectl apply --kustomize` would send, but for the ConfigMap."""
    chosen = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())
    files = {path.name for path in MANIFESTS.glob("*.yaml")} - {"kustomization.yaml"}
    assert files == set(chosen["resources"]), f"kustomization.yaml and the folder differ: {files ^ set(chosen['resources'])}"
    return [document for name in chosen["resources"] for document in yaml.safe_load_all((MANIFESTS / name).read_text())]


def check_schemas(documents):
    monitors = [document for document in documents if document["kind"] == "ServiceMonitor"]
    for document in documents:
        if document in monitors:
            continue
        for version in VERSIONS:
            kubernetes_validate.validate(document, version, strict=True)
        print(f"{document['kind']} {document['metadata']['name']}: valid for {', '.join(VERSIONS)}")
    WORK.mkdir(parents=True, exist_ok=True)
    install = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--no-save", OPERATOR_MODELS]
    (WORK / "package.json").write_text("{}")
    run(*install, cwd=WORK)
    (WORK / "validate.mjs").write_text(
        'import { ServiceMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";\n'
        "for (const one of JSON.parse(process.argv[2])) new ServiceMonitor(one).validate();\n"
    )
    run("node", "validate.mjs", json.dumps(monitors), cwd=WORK)
    print(f"{len(monitors)} ServiceMonitor: valid for {OPERATOR_MODELS}")


def check_references(documents):
    of = lambda kind: [document for document in documents if document["kind"] == kind]
    [stateful] = of("StatefulSet")
    spec, pod = stateful["spec"], stateful["spec"]["template"]
    labels = pod["metadata"]["labels"]
    [container] = pod["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    matches = lambda selector, labels: selector and selector.items() <= labels.items()
    assert matches(spec["selector"]["matchLabels"], labels)
    services = {service["metadata"]["name"]: service for service in of("Service")}
    assert services[spec["serviceName"]]["spec"]["clusterIP"] == "None"
    for service in services.values():
        assert matches(service["spec"]["selector"], labels), service
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports, service
    for probe in ["livenessProbe", "readinessProbe"]:
        assert container[probe]["httpGet"]["port"] in ports
    for one in of("PodDisruptionBudget"):
        assert matches(one["spec"]["selector"]["matchLabels"], labels)
    for policy in of("NetworkPolicy"):
        assert matches(policy["spec"]["podSelector"]["matchLabels"], labels)
        assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]} <= ports
    for monitor in of("ServiceMonitor"):
        found = [one for one in services.values() if matches(monitor["spec"]["selector"]["matchLabels"], one["metadata"]["labels"])]
        named = {port["name"] for one in found for port in one["spec"]["ports"]}
        assert len(found) == 1 and {end["port"] for end in monitor["spec"]["endpoints"]} <= named
        # What the alerts and the dashboards ask for.
        assert found[0]["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "idgate"
    volumes = {volume["name"] for volume in pod["spec"]["volumes"] + [one["metadata"] for one in spec["volumeClaimTemplates"]]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    print("what one object takes from another is there")


def check_configuration(documents):
    """The file that is mounted, with the mounts below a folder of ours."""
    [stateful] = [document for document in documents if document["kind"] == "StatefulSet"]
    pod = stateful["spec"]["template"]["spec"]
    mounts = {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    text = (MANIFESTS / "idgate.toml").read_text()
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for mount in mounts:
            (root / mount.lstrip("/")).mkdir(parents=True, exist_ok=True)
        paths = [part for part in text.split('"') if part.startswith(("/run/", "/var/"))]
        for path in paths:
            assert any(path == mount or path.startswith(f"{mount}/") for mount in mounts), f"nothing is mounted at {path}"
            if path in mounts:
                continue
            place = root / path.lstrip("/")
            place.touch(mode=0o400)
            place.chmod(0o600)
            if not path.startswith("/run/tls/"):
                place.write_text("0123456789abcdef" * 4)
        tls = root / "run/tls"
        make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "90"]
        make += ["-subj", "/CN=idgate.idgate.svc", "-addext", "subjectAltName=DNS:idgate.idgate.svc"]
        run(*make, "-keyout", tls / "tls.key", "-out", tls / "tls.crt")
        (tls / "ca.crt").write_text((tls / "tls.crt").read_text())
        ours = root / "idgate.toml"
        for mount in mounts:
            text = text.replace(f'"{mount}', f'"{root}{mount}')
        ours.write_text(text)
        print(run(BINARY, "check", "--config", ours).strip().splitlines()[-1].replace(folder, ""))


def check_balancer():
    places = {"LISTEN": "127.0.0.1:1"}
    for n in range(1, 4):
        places |= {f"GATEWAY_{n}": f"127.0.0.1:{n}", f"ADMIN_{n}": f"{n}"}
    # Debian has it where only root looks.
    path = f"{os.environ['PATH']}:/usr/sbin"
    run("haproxy", "-c", "-f", PROJECT / "config/load-balancer.cfg", env=os.environ | places | {"PATH": path})
    print("haproxy accepts config/load-balancer.cfg")


def main():
    documents = objects()
    check_schemas(documents)
    check_references(documents)
    check_configuration(documents)
    check_balancer()


main()
