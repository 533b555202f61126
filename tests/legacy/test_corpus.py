"""The command that explains public repositories, on a repository made here."""

import subprocess

import corpus


def test_the_table_of_a_repository(tmp_path, monkeypatch, capsys):
    work = tmp_path / "work"
    (work / "lib").mkdir(parents=True)
    (work / "train.py").symlink_to("lib/main.py")
    (work / "lib/main.py").write_text("import tensorflow as tf, net, gone_package\ntf.nn.relu\n")
    (work / "flow").write_text("import tensorflow as tf\ntf.nn.relu\n")
    (work / "lib/net.py").write_text("import tensorflow as tf\ntf.contrib.layers.batch_norm, tf.no_such\n")
    git = ["git", "-C", str(work), "-c", "user.name=x", "-c", "user.email=x@x"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *arguments], check=True)
    (tmp_path / "mirror").mkdir()
    (work / ".git").rename(tmp_path / "mirror/owner+name")
    (tmp_path / "list.tsv").write_text("owner/name\ttrain.py\tlib\nowner/name\tnowhere.py\nowner/name\tflow\n")
    monkeypatch.setattr(corpus, "LIST", tmp_path / "list.tsv")
    # The command sets it for each repository.
    monkeypatch.setenv("PYTHONPATH", "")
    assert corpus.main([str(tmp_path / "mirror")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("| owner/name ")
    assert lines[2].endswith(" | train.py | 2 | 2 | 1 | 0 | 1 |")
    assert "nowhere.py', which could not be read" in lines[3]
    assert lines[4].endswith(" | flow | 1 | 2 | 0 | 0 | 0 |")
    assert lines[5:] == ["owner/name gone tf.no_such", "owner/name unread gone_package"]


def test_the_list_names_repositories_and_scripts():
    rows = corpus.repositories()
    assert len(rows) >= 106
    assert all(repository.count("/") == 1 and entry for repository, entry, _ in rows)
    assert len({repository for repository, _, _ in rows}) == len(rows)
