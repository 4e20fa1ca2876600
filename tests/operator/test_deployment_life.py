"""A deployment's life on a real API server, with the real kubectl: refused, warned, accepted, served, revoked, gone."""

import asyncio
import json
from typing import Any

from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.resources import names
from paddock_core.serving.contract import deployment_secret

MODEL = packaged_catalog().models["smollm2-135m-instruct"]
JOB = names.weights_job_name(names.model_digest(MODEL, precision=MODEL.default_precision))


def serving_name(name: str) -> str:
    return names.serving_name(namespace="acme", name=name)


async def warned(api: Any, eventually: Any, document: dict[str, Any]) -> Any:
    """Apply until the webhook answers: the API server takes a moment to learn of its configuration."""

    def attempt() -> Any:
        done = api.apply({**document})
        return done if "Warning" in done.stderr or done.returncode != 0 else None

    return await eventually(attempt)


async def test_webhook_warns_of_what_may_come_true_and_refuses_what_cannot(
    api: Any, operator: Any, webhook: Any, eventually: Any, cluster_helpers: Any
) -> None:
    new = cluster_helpers.deployment
    done = await warned(api, eventually, new(name="warned"))
    assert done.returncode == 0
    assert "Warning: AcceptanceMissing" in done.stderr
    assert "paddock license offer" in done.stderr
    unknown = api.apply(new(name="unregistered", model={"id": "not-there-yet"}))
    assert unknown.returncode == 0
    assert "Warning: ModelUnknown" in unknown.stderr
    foreign = api.apply({**new(name="foreign"), "metadata": {"name": "foreign", "namespace": "nobody"}})
    assert "Warning: NamespaceUnknown" in foreign.stderr
    mismatch = api.apply(new(name="mismatch", license={"id": "mit"}))
    assert mismatch.returncode != 0
    assert "LicenseMismatch" in mismatch.stderr
    heads = api.apply(new(name="heads", model={"id": "llama-3.1-405b-instruct"}, parallelism={"tensor": 32}))
    assert heads.returncode != 0
    assert "InvalidParallelism" in heads.stderr
    context = api.apply(new(name="context", engine={"contextLength": 100000}))
    assert "ContextTooLong" in context.stderr
    for name, namespace in (("warned", "acme"), ("unregistered", "acme"), ("foreign", "nobody")):
        assert api.kubectl("delete", "llamadeployment", name, "-n", namespace, "--timeout=20s").returncode == 0


async def test_nothing_is_created_without_license_and_the_message_names_the_command(
    api: Any, operator: Any, eventually: Any, cluster_helpers: Any
) -> None:
    api.apply(cluster_helpers.deployment(name="denied"))
    found = await eventually(lambda: cluster_helpers.condition(api, "denied", "LicenseAccepted"))
    assert (found["status"], found["reason"]) == ("False", "AcceptanceMissing")
    assert "`paddock license offer --entity acme-inc --model smollm2-135m-instruct --role deployer" in found["message"]
    assert cluster_helpers.condition(api, "denied", "Serving")["reason"] == "NotServed"
    whole = cluster_helpers.get(api, "llamadeployment", "denied", "-n", "acme")
    assert "finalizers" not in whole["metadata"], "nothing was created, so nothing holds the object"
    assert whole["status"]["phase"] == "LicenseRequired"
    selector = f"{names.DEPLOYMENT_NAME}=denied"
    assert cluster_helpers.get(api, "all,configmaps,serviceaccounts", "-A", "-l", selector)["items"] == []
    assert api.kubectl("delete", "llamadeployment", "denied", "-n", "acme", "--timeout=20s").returncode == 0


async def served(api: Any, eventually: Any, cluster_helpers: Any, name: str, address: str) -> str:
    """Play every other part until a deployment serves; the pod's name."""

    def job_or_child() -> Any:
        return cluster_helpers.get(api, "job", JOB, "-n", "paddock-weights")

    job = await eventually(job_or_child)
    if "status" not in job or not job["status"].get("succeeded"):
        await asyncio.to_thread(cluster_helpers.finish_weights, api, JOB)
    (child,) = await eventually(lambda: cluster_helpers.copies(api, name))
    pod: str = await asyncio.to_thread(lambda: cluster_helpers.run_pod(api, child, address=address))
    await eventually(lambda: cluster_helpers.condition(api, name, "Serving").get("status") == "True")
    return pod


async def test_from_acceptance_to_serving_to_revocation_and_back(
    api: Any, policy: Any, helpers: Any, operator: Any, eventually: Any, cluster_helpers: Any, settings: Any
) -> None:
    name, address = "life", "127.77.0.2"
    api.kubectl("delete", "job", JOB, "-n", "paddock-weights", "--ignore-not-found")
    api.apply(cluster_helpers.deployment(name=name, engine={"contextLength": 2048, "maxConcurrency": 2}))
    await eventually(lambda: cluster_helpers.condition(api, name, "LicenseAccepted"))
    policy.put(*helpers.accepted("acme-inc"))
    async with cluster_helpers.triton_at(address) as triton:
        pod = await served(api, eventually, cluster_helpers, name, address)
        # A second round may ask again before the cache has seen the Job: what counts is that leave was asked for.
        assert set(policy.tokens_issued) == {"smollm2-135m-instruct"}
        found = cluster_helpers.get(api, "llamadeployment", name, "-n", "acme")
        secret = deployment_secret(
            platform_key=settings.read_secret(settings.platform_key_file),
            deployment_uid=found["metadata"]["uid"],
            rotation=0,
        )
        assert set(triton.asked_with) == {secret}
        status = found["status"]
        assert status["phase"] == "Serving"
        assert status["license"] == {"id": "paddock-demo", "acceptance": "acc-acme-inc-paddock-demo"}
        (copy,) = cluster_helpers.copies(api, name)
        revision = copy["metadata"]["labels"][names.REVISION]
        (target,) = status["routing"]["targets"]
        assert target == {
            "revision": revision,
            "model": "smollm2-135m-instruct",
            "tokenizer": "sha256:" + "7" * 64,
            "contextLength": 2048,
            "maxConcurrency": 2,
            "endpoints": [{"pod": pod, "url": f"http://{address}:8000"}],
        }
        (made,) = status["revisions"]
        assert (made["name"], made["state"], made["replicas"], made["readyReplicas"]) == (revision, "Current", 1, 1)
        assert status["readyReplicas"] == 1
        assert found["metadata"]["finalizers"] == ["paddock.dev/serving-resources"]

        revoked = helpers.accepted("acme-inc")[0]
        policy.remove("acceptance", revoked.id)
        await eventually(
            lambda: (
                '"endpoints"'
                not in json.dumps(cluster_helpers.get(api, "llamadeployment", name, "-n", "acme")["status"])
            )
        )
        assert cluster_helpers.condition(api, name, "Serving")["reason"] in ("Draining", "NotServed")
        await eventually(lambda: not cluster_helpers.copies(api, name))
        made = ("configmap", "-n", "paddock-serving-acme", "-l", f"{names.DEPLOYMENT_NAME}={name}")
        assert cluster_helpers.get(api, *made)["items"], "the pods are still there, so what they mount is too"
        await asyncio.to_thread(cluster_helpers.remove_pod, api, "paddock-serving-acme", pod)
        await eventually(lambda: not cluster_helpers.copies(api, name, kind="configmap"))
        await eventually(
            lambda: cluster_helpers.get(api, "secret", serving_name(name), "-n", "paddock-serving-acme") is None
        )
        for policy_name in ("default-deny", "callers", "callers-of-groups"):
            kept = cluster_helpers.get(api, "networkpolicy", policy_name, "-n", "paddock-serving-acme")
            assert kept, "what others in the namespace rest on stays"
        await eventually(
            lambda: "finalizers" not in cluster_helpers.get(api, "llamadeployment", name, "-n", "acme")["metadata"]
        )
        assert cluster_helpers.condition(api, name, "LicenseAccepted")["reason"] == "AcceptanceMissing"

        policy.put(revoked)
        await served(api, eventually, cluster_helpers, name, address)
    events = cluster_helpers.get(api, "events", "-n", "acme")["items"]
    reasons = {item["reason"] for item in events if item["involvedObject"]["name"] == name}
    assert {"AcceptanceMissing", "Allowed", "Draining"} <= reasons
    await remove(api, eventually, cluster_helpers, name)


async def remove(api: Any, eventually: Any, cluster_helpers: Any, name: str) -> None:
    """Delete a deployment and let its pods go."""
    api.kubectl("delete", "llamadeployment", name, "-n", "acme", "--wait=false")
    selector = f"{names.DEPLOYMENT_NAME}={name}"
    await eventually(lambda: not cluster_helpers.copies(api, name))
    api.kubectl("delete", "pods", "-n", "paddock-serving-acme", "-l", selector, "--grace-period=0", "--force")
    await eventually(lambda: cluster_helpers.get(api, "llamadeployment", name, "-n", "acme") is None)


async def test_a_change_of_context_is_routed_to_when_a_copy_of_it_answers(
    api: Any, policy: Any, helpers: Any, operator: Any, eventually: Any, cluster_helpers: Any
) -> None:
    name, former, present = "rolled", "127.77.0.7", "127.77.0.8"
    policy.put(*helpers.accepted("acme-inc"))
    api.apply(cluster_helpers.deployment(name=name, engine={"contextLength": 2048}))

    def routing() -> list[tuple[int, int, list[str]]]:
        said = cluster_helpers.get(api, "llamadeployment", name, "-n", "acme")["status"]["routing"]
        return [
            (item["contextLength"], item.get("weight", 100), [pod["pod"] for pod in item.get("endpoints", [])])
            for item in said["targets"]
        ]

    def others(kept: str) -> list[Any]:
        return [item for item in cluster_helpers.copies(api, name) if item["metadata"]["name"] != kept]

    async with cluster_helpers.triton_at(former), cluster_helpers.triton_at(present):
        old = await served(api, eventually, cluster_helpers, name, former)
        first = cluster_helpers.copies(api, name)[0]["metadata"]
        api.apply(cluster_helpers.deployment(name=name, engine={"contextLength": 1024}))
        (second,) = await eventually(lambda: others(first["name"]))
        await eventually(lambda: cluster_helpers.condition(api, name, "Progressing").get("reason") == "RollingOut")
        assert routing() == [(2048, 100, [old])]
        new = await asyncio.to_thread(cluster_helpers.run_pod, api, second, address=present, suffix="b")
        await eventually(lambda: routing() == [(1024, 100, [new])])
        await eventually(lambda: not others(second["metadata"]["name"]))
        await asyncio.to_thread(cluster_helpers.remove_pod, api, "paddock-serving-acme", old)
        await eventually(lambda: len(cluster_helpers.copies(api, name, kind="configmap")) == 1)
        await eventually(lambda: not cluster_helpers.condition(api, name, "Progressing"))
    await remove(api, eventually, cluster_helpers, name)


async def test_a_pod_that_generates_nothing_is_no_endpoint(
    api: Any, policy: Any, helpers: Any, operator: Any, eventually: Any, cluster_helpers: Any
) -> None:
    name, address = "silent", "127.77.0.3"
    policy.put(*helpers.accepted("acme-inc"))
    api.apply(cluster_helpers.deployment(name=name))
    async with cluster_helpers.triton_at(address) as triton:
        await served(api, eventually, cluster_helpers, name, address)
        triton.healthy = False
        await eventually(lambda: cluster_helpers.condition(api, name, "Serving").get("reason") == "ProbeFailed")
        message = cluster_helpers.condition(api, name, "Serving")["message"]
        assert "Stub process is unhealthy" in message
        stuck = cluster_helpers.condition(api, name, "Progressing")
        assert (stuck["status"], stuck["reason"]) == ("False", "ProbeFailed")
        triton.healthy = True
        await eventually(lambda: cluster_helpers.condition(api, name, "Serving").get("status") == "True")
        told = cluster_helpers.get(api, "llamadeployment", name, "-n", "acme")
        conditions = {item["type"]: item for item in told["status"]["conditions"]}
        assert not {"Progressing", "Degraded"} & set(conditions), "what is over is told no more"
        assert {item["observedGeneration"] for item in conditions.values()} == {told["metadata"]["generation"]}
    await remove(api, eventually, cluster_helpers, name)


async def test_drift_is_undone_and_what_others_add_is_left(
    api: Any, policy: Any, helpers: Any, operator: Any, eventually: Any, cluster_helpers: Any
) -> None:
    name, address = "drift", "127.77.0.4"
    policy.put(*helpers.accepted("acme-inc"))
    api.apply(cluster_helpers.deployment(name=name))
    async with cluster_helpers.triton_at(address):
        await served(api, eventually, cluster_helpers, name, address)
        where = ("-n", "paddock-serving-acme")
        copy = cluster_helpers.copies(api, name)[0]["metadata"]["name"]
        api.kubectl("scale", "replicaset", copy, "--replicas=5", *where)
        api.kubectl("annotate", "replicaset", copy, "somebody/note=kept", *where)
        for gone in ("networkpolicy/callers", "networkpolicy/default-deny", "serviceaccount/serving"):
            api.kubectl("delete", gone, *where)

        def restored() -> bool:
            child = cluster_helpers.get(api, "replicaset", copy, *where)
            shared = [*(("networkpolicy", item) for item in ("callers", "default-deny")), ("serviceaccount", "serving")]
            found = [cluster_helpers.get(api, *item, *where) for item in shared]
            return child["spec"]["replicas"] == 1 and None not in found

        await eventually(restored)
        child = cluster_helpers.get(api, "replicaset", copy, *where)
        assert child["metadata"]["annotations"]["somebody/note"] == "kept"
    await remove(api, eventually, cluster_helpers, name)


async def test_policy_that_is_too_old_creates_nothing_and_stops_nothing(
    api: Any, policy: Any, helpers: Any, new_operator: Any, eventually: Any, cluster_helpers: Any
) -> None:
    policy.max_age_seconds = 3.0
    policy.put(*helpers.accepted("acme-inc"))
    operator = new_operator()
    await operator.start()
    name, address = "cut-off", "127.77.0.5"
    api.apply(cluster_helpers.deployment(name=name))
    async with cluster_helpers.triton_at(address):
        await served(api, eventually, cluster_helpers, name, address)
        policy.down = True
        await eventually(
            lambda: cluster_helpers.condition(api, name, "LicenseAccepted").get("reason") == "PolicyExpired", 40.0
        )
        assert cluster_helpers.condition(api, name, "LicenseAccepted")["status"] == "Unknown"
        assert cluster_helpers.condition(api, name, "Serving")["status"] == "True"
        api.apply(cluster_helpers.deployment(name="too-late"))
        found = await eventually(lambda: cluster_helpers.condition(api, "too-late", "LicenseAccepted"))
        assert found["reason"] == "PolicyExpired"
        assert cluster_helpers.copies(api, "too-late") == []
        policy.down = False
        await eventually(lambda: cluster_helpers.condition(api, name, "LicenseAccepted").get("status") == "True")
    await remove(api, eventually, cluster_helpers, "too-late")
    await remove(api, eventually, cluster_helpers, name)
    await operator.stop()


async def test_a_refused_download_is_told(
    api: Any, policy: Any, helpers: Any, operator: Any, eventually: Any, cluster_helpers: Any
) -> None:
    api.kubectl("delete", "job", JOB, "-n", "paddock-weights")
    policy.denies_downloads = True
    policy.put(*helpers.accepted("acme-inc"))
    api.apply(cluster_helpers.deployment(name="undownloaded"))
    found = await eventually(lambda: cluster_helpers.condition(api, "undownloaded", "WeightsReady"))
    assert found["reason"] == "DownloadDenied"
    assert "accept as operator first" in found["message"]
    await remove(api, eventually, cluster_helpers, "undownloaded")


async def test_what_a_dead_operator_left_undone_is_done_by_the_next(
    api: Any, policy: Any, helpers: Any, new_operator: Any, eventually: Any, cluster_helpers: Any
) -> None:
    policy.put(*helpers.accepted("acme-inc"))
    first = new_operator()
    await first.start()
    name, address = "orphan", "127.77.0.6"
    api.apply(cluster_helpers.deployment(name=name))
    async with cluster_helpers.triton_at(address):
        await served(api, eventually, cluster_helpers, name, address)
    await first.kill()
    # The object is forced away while nobody looks: its serving resources are orphans now.
    api.kubectl("delete", "llamadeployment", name, "-n", "acme", "--wait=false")
    api.kubectl(
        "patch", "llamadeployment", name, "-n", "acme", "--type=merge", "-p", '{"metadata":{"finalizers":null}}'
    )
    assert cluster_helpers.get(api, "llamadeployment", name, "-n", "acme") is None
    # The same identity, as a restarted StatefulSet pod would have: it need not wait for its own Lease to lapse.
    second = new_operator()
    await second.start()
    where = ("-n", "paddock-serving-acme")
    await eventually(lambda: not cluster_helpers.copies(api, name), 40.0)
    selector = f"{names.DEPLOYMENT_NAME}={name}"
    api.kubectl("delete", "pods", *where, "-l", selector, "--grace-period=0", "--force")
    await eventually(lambda: not cluster_helpers.copies(api, name, kind="configmap"))
    assert await second.stop() == 0


async def test_two_operators_one_leads_and_the_other_takes_over(
    api: Any, policy: Any, helpers: Any, new_operator: Any, eventually: Any, cluster_helpers: Any, second_ports: Any
) -> None:
    first = new_operator(identity="one")
    await first.start()
    await eventually(lambda: '"leads": true' in first.log())

    def holder() -> str:
        lease = cluster_helpers.get(api, "lease", "paddock-operator", "-n", "paddock-system")
        return str(lease["spec"].get("holderIdentity"))

    assert holder() == "one"
    second = new_operator(identity="two", **second_ports)
    await second.start()
    await asyncio.sleep(3)
    assert holder() == "one"
    await first.stop()
    await eventually(lambda: holder() == "two")
    api.apply(cluster_helpers.deployment(name="taken-over"))
    await eventually(lambda: cluster_helpers.condition(api, "taken-over", "LicenseAccepted"))
    await remove(api, eventually, cluster_helpers, "taken-over")
    await second.stop()
